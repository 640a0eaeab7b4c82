"""A plain transformer over the atoms of a known molecule: conditioned on its graph by what pairs add to the logits.

The scalable alternative to equivariant networks for conformers (MCF, Wang et al. 2024; AvgFlow, Cao et al. 2025;
DiTMC, Frank et al. 2025), with DiT's blocks (Peebles & Xie 2023).
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from coset.cloud import Cloud, center
from coset.interfaces import Network
from coset.networks.dit import Transformer
from coset.networks.embeddings import distances, with_told
from coset.networks.graphs import ELEMENTS, known_edges, known_modes, known_nodes
from coset.networks.hands import HANDS, told_hands
from coset.networks.pairformer import RadialBasis, modulated
from coset.networks.precision import trunk_autocast
from coset.recomputing import lean

HIDDEN = 64  # units between what is known of a pair and its biases


class PairBiases(nn.Module):
    """What a pair adds to the attention logits of every head of every layer: from its relations and its distance.

    One hidden layer, so that a distance can mean something else for a bonded pair. The last layer begins with zeros.
    """

    def __init__(self, relations: int, depth: int, heads: int) -> None:
        super().__init__()
        self.depth, self.radial = depth, RadialBasis()
        self.first, self.last = nn.Linear(relations + self.radial.size, HIDDEN), nn.Linear(HIDDEN, depth * heads)
        for values in self.last.parameters():
            nn.init.zeros_(values)

    def forward(
        self, x: Float[Tensor, "b n 3"], relations: Float[Tensor, "b n n e"], padding: Float[Tensor, "b 1 1 n"]
    ) -> list[Float[Tensor, "b h n n"]]:
        """One for each layer, with the padding's."""
        radial = self.radial(distances(x), torch.ones_like(x[:, 0, 0]))
        with trunk_autocast(self, x):
            biases = self.last(F.silu(self.first(torch.cat([relations, radial], -1))))
        return [part.permute(0, 3, 1, 2) + padding.to(part.dtype) for part in biases.chunk(self.depth, -1)]


class GraphTransformer(Network):
    """A velocity for every atom, not equivariant; centred, and zero before training. Features z.h pass through.

    Tokens: the element, `attributes` of the atom (`condition.nodes`, atomic numbers first), its position in Angstrom
    from the centre, and its values in the first `modes` modes of the molecular graph (`condition.modes`), each
    of mean square 1 over the molecule. Pairs add to the logits of attention by `relations` (`condition.edges`) and
    their distance; with relations=0 they do not, and the modes alone tell of the graph. hands: the channels of
    `condition.edges` that hold apexes and triangles of stereocentres, to be told of their corners (`told_hands`), which
    begins with zeros. Raises ValueError where the condition lacks what is asked for.
    """

    def __init__(
        self,
        attributes: int,
        relations: int,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        modes: int = 0,
        hands: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.attributes, self.relations, self.modes, self.width = attributes, relations, modes, width
        self.elements, self.atoms = nn.Embedding(ELEMENTS, width), nn.Linear(attributes + 3 + modes, width)
        self.pairs = PairBiases(relations, depth, heads) if relations else None
        self.trunk = Transformer(width, depth, heads)
        self.head = nn.Linear(width, 3)
        self.channels, self.hands = hands, nn.Linear(HANDS, width, bias=False) if hands else None
        for layer in filter(None, (self.head, self.hands)):
            for values in layer.parameters():
                nn.init.zeros_(values)

    def forward(self, z: Cloud, t: Float[Tensor, "b"]) -> Cloud:
        numbers, attributes = known_nodes(z, self.attributes)
        x = center(z.x, z.mask)
        known = [attributes, x]
        if self.modes:
            known.append(known_modes(z, self.modes))
        tokens = with_told(self.elements(numbers) + self.atoms(torch.cat(known, -1)), z)
        if self.hands is not None and self.channels is not None:
            edges = known_edges(z, self.relations)
            tokens = tokens + self.hands(told_hands(x, *(edges[..., channel] for channel in self.channels)))
        out = self.head(self._transformed(tokens, self._keys(z, x), t))
        return replace(z, x=center(out, z.mask))

    def _keys(self, z: Cloud, x: Float[Tensor, "b n 3"]) -> list[Tensor]:
        """For every layer which keys are real, or what is added to the logits."""
        if self.pairs is None:
            return [(z.mask > 0).mT[:, None]] * len(self.trunk.blocks)
        return lean(self.pairs)(x, known_edges(z, self.relations), (z.mask.mT[:, None] - 1) * 1e9)

    def _transformed(self, tokens: Float[Tensor, "b n w"], keys: list[Tensor], t: Float[Tensor, "b"]) -> Tensor:
        """The trunk, with keys of its own for every layer."""
        dtype = tokens.dtype
        with trunk_autocast(self, tokens):
            time = self.trunk.time(t)
            for block, key in zip(self.trunk.blocks, keys, strict=True):
                tokens = lean(block)(tokens, time, key)
            shift, scale = self.trunk.final(time)[:, None].chunk(2, -1)
        return modulated(*(part.to(dtype) for part in (tokens, shift, scale)))
