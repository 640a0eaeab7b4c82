"""Attention over the real keys of padded molecules, by whichever of torch's ways is fastest."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def attend(
    q: Float[Tensor, "b h n d"], k: Float[Tensor, "b h n d"], v: Float[Tensor, "b h n d"], keys: Tensor
) -> Float[Tensor, "b h n d"]:
    """softmax(q k^T / sqrt(d)) v. keys: true for real ones, or what is added to the logits; of a shape like b h n n.

    torch's own, but for training in bf16 on a CPU, where the backward pass of its fused kernel takes five times as long
    as that of the two matrix products written out, and more than all else in a layer of a small molecule.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled():
        return _written_out(q, k, v, keys)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keys)


def _written_out(q: Tensor, k: Tensor, v: Tensor, keys: Tensor) -> Tensor:
    """Logits are summed and normalised in float32."""
    added = torch.where(keys, 0.0, -1e9) if keys.dtype == torch.bool else keys.float()
    logits = torch.add(added, q @ k.mT, alpha=q.shape[-1] ** -0.5)
    return F.softmax(logits, -1, dtype=torch.float32).to(v.dtype) @ v
