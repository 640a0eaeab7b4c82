"""Automorphisms: the permutations of a molecule's atoms that leave its graph as it is."""

from coset.automorphisms.group import LIMIT, AutomorphismGroup, automorphisms, with_automorphisms

__all__ = ["LIMIT", "AutomorphismGroup", "automorphisms", "with_automorphisms"]
