"""Alignment: clean clouds are turned into a pose before another codec encodes them (RADM, Zhu et al. 2025, 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from jaxtyping import Float, Int
from torch import Tensor

from coset.cloud import Cloud
from coset.interfaces import Codec, Frame, Output
from coset.noise import Noise


class Aligned(Codec):
    """x_i -> R^T x_i with R = frame(clean), then `codec`.

    What comes out stays in that pose: how molecules lie in space is nothing that a generative model of them should
    know. A frame that is not random (`IdentityFrame`, `NearestFrame`, `PrincipalFrame(random=False)`, `VectorFrame`).
    Where the frame is equivariant, molecules in any pose are encoded alike.

    order: of a posed cloud's atoms, in which they then stay, for networks that know an atom by its place. Atoms cannot
    be kept where they are then: nobody knows their place before the rest of the molecule is there.

    features: channels of the clean cloud that frame and codec see, the first ones; all of them by default.
    """

    def __init__(
        self,
        frame: Frame,
        codec: Codec,
        order: Callable[[Cloud], Int[Tensor, "b n"]] | None = None,
        features: int | None = None,
    ) -> None:
        super().__init__()
        self.frame, self.codec, self.order, self.unit = frame, codec, order, codec.unit
        self.features = features
        self.spatial = codec.spatial and order is None

    @property
    def width(self) -> int:
        return self.codec.width

    def posed(self, clean: Cloud) -> Cloud:
        """The cloud in its pose, and in its order if it has one; features that it sees stay."""
        clean = clean.center()
        if clean.condition is not None and clean.condition.latent is not None:
            return clean  # nothing but the latent is read of it
        clean = replace(clean, h=clean.h[..., : self.features])
        posed = clean.rotate(self.frame(clean, clean.x.new_zeros(len(clean))).mT)
        return posed if self.order is None else posed.permute(self.order(posed))

    def encode(self, clean: Cloud, noise: Noise | None = None) -> Cloud:
        return self.codec.encode(self.posed(clean), noise)

    def output(self, z0: Cloud, estimate: Cloud) -> Output:
        return PosedOutput(self, self.codec.output(z0, estimate))

    def lost(self, clean: Cloud, noise: Noise) -> dict[str, Float[Tensor, "b"]]:
        """Of the cloud in its pose: what the frame learns by, beside how well the pose can be encoded."""
        return self.codec.lost(self.posed(clean), noise)

    def entropy(self, clean: Cloud) -> Float[Tensor, "b"]:
        return self.codec.entropy(clean)


@dataclass(frozen=True)
class PosedOutput(Output):
    """An output in the pose: a clean cloud is turned into it before it is measured."""

    codec: Aligned
    output: Output

    def log_prob(self, clean: Cloud) -> Float[Tensor, "b"]:
        return self.output.log_prob(self.codec.posed(clean))

    def sample(self, noise: Noise) -> Cloud:
        return self.output.sample(noise)

    def mode(self) -> Cloud:
        return self.output.mode()
