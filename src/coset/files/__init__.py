"""Molecules to and from files: SDF, XYZ, SMILES, NPZ. Every file is written whole or not at all."""

from coset.files.atomic import atomic_write, check_writable, file_mode
from coset.files.reading import READABLE, iterate, read
from coset.files.writing import write_sdf, write_smiles, write_xyz

__all__ = [
    "READABLE",
    "atomic_write",
    "check_writable",
    "file_mode",
    "iterate",
    "read",
    "write_sdf",
    "write_smiles",
    "write_xyz",
]
