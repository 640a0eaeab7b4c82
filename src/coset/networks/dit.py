"""A plain transformer over atoms, adaLN-zero (Peebles & Xie 2023) as SymDiff uses it (Zhang et al. 2025, C.2)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from coset.cloud import Cloud, center
from coset.interfaces import Field, Network
from coset.networks.attention import attend
from coset.networks.embeddings import AtomTokens, DistanceKernels, TimeEmbedding, with_told
from coset.networks.precision import trunk_autocast
from coset.recomputing import lean
from coset.scales import CENTRED, Subspace


def _modulate(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    normalised = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
    return torch.addcmul(shift[:, None], normalised, 1 + scale[:, None])


def _modulation(width: int, chunks: int) -> nn.Sequential:
    linear = nn.Linear(width, chunks * width)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.SiLU(), linear)


def _xavier(width_in: int, width_out: int) -> nn.Linear:
    linear = nn.Linear(width_in, width_out)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class SwiGLU(nn.Module):
    """Linear to 4 widths, SiLU of one half times the other, back. The gate starts as the constant SiLU(1)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.narrow = _xavier(width, 4 * width), _xavier(2 * width, width)
        nn.init.normal_(self.wide.weight[: 2 * width], std=1e-6)
        nn.init.ones_(self.wide.bias[: 2 * width])

    def forward(self, tokens: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        gate, value = self.wide(tokens).chunk(2, -1)
        return self.narrow(F.silu(gate) * value)


class Perceptron(nn.Module):
    """Linear to 4 widths, GELU, back: the MLP of the original transformer of this kind."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide, self.narrow = _xavier(width, 4 * width), _xavier(4 * width, width)

    def forward(self, tokens: Float[Tensor, "b n w"]) -> Float[Tensor, "b n w"]:
        return self.narrow(F.gelu(self.wide(tokens), approximate="tanh"))


class Attention(nn.Module):
    """Multi-head self-attention in which padded keys are masked."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width must be a multiple of heads; got width={width}, heads={heads}")
        self.heads, self.qkv, self.out = heads, _xavier(width, 3 * width), _xavier(width, width)

    def forward(self, tokens: Float[Tensor, "b n w"], keys: Tensor) -> Float[Tensor, "b n w"]:
        b, n, w = tokens.shape
        q, k, v = self.qkv(tokens).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out(attend(q, k, v, keys).transpose(1, 2).reshape(b, n, w))


class Block(nn.Module):
    def __init__(self, width: int, heads: int, gated: bool) -> None:
        super().__init__()
        self.modulation = _modulation(width, 6)
        self.attention, self.mlp = Attention(width, heads), SwiGLU(width) if gated else Perceptron(width)

    def forward(self, tokens: Tensor, time: Float[Tensor, "b w"], keys: Tensor) -> Tensor:
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(time).chunk(6, -1)
        tokens = tokens + gate_a[:, None] * self.attention(_modulate(tokens, shift_a, scale_a), keys)
        return tokens + gate_m[:, None] * self.mlp(_modulate(tokens, shift_m, scale_m))


class Transformer(nn.Module):
    """The trunk: time embedding, blocks, final modulated norm. Tokens in, tokens out, padding never seen.

    gated: SwiGLU in the blocks, as SymDiff has it; a plain perceptron otherwise (Peebles & Xie 2023; RADM).
    """

    def __init__(self, width: int, depth: int, heads: int, gated: bool = True) -> None:
        super().__init__()
        self.time = TimeEmbedding(width)
        self.blocks = nn.ModuleList(Block(width, heads, gated) for _ in range(depth))
        self.final = _modulation(width, 2)

    def forward(self, tokens: Float[Tensor, "b n w"], mask: Float[Tensor, "b n 1"], t: Float[Tensor, "b"]) -> Tensor:
        keys = (mask > 0).transpose(1, 2)[:, None]  # (b, 1, 1, n): every query sees the real keys
        with trunk_autocast(self, tokens):
            time = self.time(t)
            for block in self.blocks:
                tokens = lean(block)(tokens, time, keys)
            shift, scale = self.final(time).chunk(2, -1)
        return _modulate(*(part.to(mask.dtype) for part in (tokens, shift, scale)))


class DiT(Network):
    """A transformer from clouds to clouds, not equivariant; its position output is centred, or free for free noise.

    SymDiff's published size 384 x 12 x 6 heads counts 28,926,345 parameters without `tokens` (39,208 more). RADM's
    (`gated` off, no kernels) is larger by its perceptrons: 32,465,284 at this size and 1 feature.
    """

    def __init__(
        self, features: int, width: int = 384, depth: int = 12, heads: int = 6, kernels: int = 184,
        subspace: Subspace = CENTRED, gated: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.subspace, self.width = subspace, width
        self.tokens = AtomTokens(features, width, kernels)
        self.trunk = Transformer(width, depth, heads, gated)
        self.head = nn.Linear(width, 3 + features)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        tokens = with_told(self.tokens(z.x, z.h, z.mask), z)
        out = self.head(self.trunk(tokens, z.mask, t)) * z.mask
        return replace(z, x=self.subspace.project(out[..., :3], z.mask), h=out[..., 3:])


class DiTField(Field):
    """`scalars` numbers and `vectors` arrows an atom from a transformer; not equivariant (see `PosedField`).

    All of it has forward derivatives (`torch.func.jvp`).
    """

    def __init__(
        self, features: int, scalars: int, vectors: int, width: int = 384, depth: int = 12, heads: int = 6,
        kernels: int = 184,
    ) -> None:  # fmt: skip
        super().__init__()
        self.split = scalars, 3 * vectors
        self.tokens = AtomTokens(features, width, kernels)
        self.trunk = Transformer(width, depth, heads)
        # Not zeros: a matrix made of products of the vectors would have no gradient there.
        self.head = nn.Linear(width, sum(self.split))

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> tuple[Float[Tensor, "b n k"], Float[Tensor, "b n m 3"]]:
        x = center(z.x, z.mask)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward derivative
            tokens = self.trunk(self.tokens(x, z.h, z.mask), z.mask, t)
        scalars, vectors = (self.head(tokens) * z.mask).split(self.split, -1)
        return scalars, vectors.unflatten(-1, (-1, 3))


class PoseTransformer(nn.Module):
    """A 3 x 3 matrix a molecule from its positions and noise per atom: the f of SymDiff's gamma (section 4.1).

    The published size 128 x 8 x 4 heads counts 2,219,392 parameters in `tokens` and `trunk`.
    """

    def __init__(self, noise: int = 3, width: int = 128, depth: int = 8, heads: int = 4, kernels: int = 184) -> None:
        super().__init__()
        self.kernels = DistanceKernels(kernels)
        self.tokens = nn.Linear(3 + noise + kernels, width)
        self.trunk = Transformer(width, depth, heads)
        self.head = nn.Sequential(nn.Linear(width, 64), nn.GELU(), nn.Linear(64, 9))

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Float[Tensor, "b 3 3"]:
        """z.h holds the noise (b, n, k)."""
        tokens = self.tokens(torch.cat([z.x, z.h, self.kernels(z.x, z.mask)], -1))
        tokens = self.trunk(tokens, z.mask, t) * z.mask
        return self.head(tokens.sum(1) / z.mask.sum(1)).view(-1, 3, 3)
