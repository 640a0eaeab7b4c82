"""coset: 3D molecules from diffusion models in which the way symmetry is respected is an exchangeable part."""

__version__ = "0.1.0"
