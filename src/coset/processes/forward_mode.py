"""Derivatives in time by forward mode, without the zeros that torch would multiply and add on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

Tensors = tuple[Tensor, ...]


def value_and_rate(function: Callable[[Tensor], Tensors], t: Tensor) -> tuple[Tensors, Tensors]:
    """function(t) and its derivative along a tangent of ones; both differentiable in whatever else it depends on.

    As `torch.func.jvp`, in two thirds of its time for networks with attention: most of what they hold does not depend
    on time, and torch makes tangents of zeros for it, which it multiplies by every weight.
    """
    t = t.clone()  # forward mode refuses expanded tensors
    with _SparseTangents():
        return torch.func.jvp(function, (t,), (torch.ones_like(t),))[:2]


def value_and_rates(function: Callable[[Tensor], Tensors], t: Tensor) -> tuple[Tensors, Tensors, Tensors]:
    """function(t) with its first and second derivative, by nesting torch's own forward mode."""

    def with_rate(time: Tensor) -> tuple[Tensors, Tensors]:
        return torch.func.jvp(function, (time,), (torch.ones_like(time),))[:2]

    t = t.clone()
    # Without gradients torch takes SiLU's derivative by a kernel that has no derivative itself.
    with torch.enable_grad():
        (value, first), (_, second) = torch.func.jvp(with_rate, (t,), (torch.ones_like(t),))[:2]
    return value, first, second


class _SparseTangents(TorchFunctionMode):
    """Takes the operations of `_RULES` on itself: those that networks spend their time in. Others are torch's."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule, kwargs = _RULES.get(func), kwargs or {}
        named = {name: value for name, value in kwargs.items() if value is not None and value is not False}
        if rule is None or not named.keys() <= {"dim"}:
            return func(*args, **kwargs)
        return rule(*args, **named)


def _parted(value: Any) -> tuple[Any, Tensor | None]:
    """A value and its tangent, None for zero."""
    if not isinstance(value, Tensor):
        return value, None
    dual = forward_ad.unpack_dual(value)
    return dual.primal, dual.tangent


def _joined(value: Tensor, tangent: Tensor | None) -> Tensor:
    return value if tangent is None else forward_ad.make_dual(value, tangent)


def _plus(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    return second if first is None else first if second is None else first + second


def _product(operation: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    """d(a b) = da b + a db, for every bilinear operation."""

    def rule(a: Any, b: Any) -> Tensor:
        (a, da), (b, db) = _parted(a), _parted(b)
        left = None if da is None else operation(da, b)
        right = None if db is None else operation(a, db)
        return _joined(operation(a, b), _plus(left, right))

    return rule


def _sum(operation: Callable[[Any, Any], Tensor], sign: int) -> Callable[[Any, Any], Tensor]:
    def rule(a: Any, b: Any) -> Tensor:
        (a, da), (b, db) = _parted(a), _parted(b)
        value = operation(a, b)
        if da is not None and db is not None:
            return _joined(value, operation(da, db))
        only = da if db is None else db if sign > 0 else -db
        return _joined(value, None if only is None else only.to(value.dtype).expand(value.shape))

    return rule


def _softmax(x: Any, dim: int) -> Tensor:
    x, dx = _parted(x)
    value = x.softmax(dim)
    return _joined(value, None if dx is None else value * (dx - (value * dx).sum(dim, keepdim=True)))


def _linear(x: Any, weight: Any, bias: Any = None) -> Tensor:
    (x, dx), (weight, dw), (bias, db) = _parted(x), _parted(weight), _parted(bias)
    moved = _plus(None if dx is None else F.linear(dx, weight), None if dw is None else F.linear(x, dw))
    value = F.linear(x, weight, bias)
    if db is not None:
        moved = db.expand(value.shape) if moved is None else moved + db
    return _joined(value, moved)


def _silu(x: Any) -> Tensor:
    x, dx = _parted(x)
    if dx is None:
        return F.silu(x)
    gate = torch.sigmoid(x)
    value = x * gate
    return _joined(value, dx * (gate + value * (1 - gate)))


_RULES: dict[Any, Callable[..., Tensor]] = {
    F.linear: _linear,
    F.silu: _silu,
    **dict.fromkeys((torch.softmax, Tensor.softmax), _softmax),
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__), _product(torch.matmul)),
    **dict.fromkeys((torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), _product(torch.mul)),
    **dict.fromkeys((torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), _sum(torch.add, 1)),
    **dict.fromkeys((torch.sub, Tensor.sub, Tensor.__sub__), _sum(torch.sub, -1)),
}
