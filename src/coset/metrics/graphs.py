"""Graphs: is a molecule whose bonds are known stable, valid, in one piece?"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from rdkit import Chem, rdBase

from coset.bonds import CROWD, allowed_valences


class Judgement(NamedTuple):
    """stable: of each atom. smiles: of the largest fragment where RDKit sanitises the graph, else None."""

    stable: list[bool]
    connected: bool
    smiles: str | None


def judge(graph: Chem.Mol) -> Judgement:
    """Judges a graph by its bonds, charges and aromaticity as they are.

    An atom is stable where the orders of its bonds sum to a valence of its element: the protocol's or one of RDKit's;
    with a formal charge, of the element with as many electrons (N+ as C, O- as F). Aromatic bonds count as the singles
    and doubles of a Kekule structure, and nitro groups drawn with a pentavalent N as RDKit redraws them, with charges.
    Open valences are never filled. The SMILES has explicit hydrogens, stereo aside, as in `valid_smiles`.
    """
    sane = _sanitized(graph)
    stable = _stable_atoms(graph if sane is None else sane)
    return Judgement(stable, len(Chem.GetMolFrags(graph)) == 1, None if sane is None else _smiles(sane))


def _stable_atoms(graph: Chem.Mol) -> list[bool]:
    graph = Chem.Mol(graph)
    # where there is no such structure half orders stay, and their atoms are rarely stable
    with rdBase.BlockLogs(), suppress(ValueError):
        Chem.Kekulize(graph, clearAromaticFlags=True)
    return [_is_stable(atom) for atom in graph.GetAtoms()]


def _is_stable(atom: Chem.Atom) -> bool:
    total = sum(bond.GetValenceContrib(atom) for bond in atom.GetBonds())
    number, charge = atom.GetAtomicNum(), atom.GetFormalCharge()
    electrons = number - charge
    if not 1 <= electrons <= 118:
        return total == 0  # a bare proton
    allowed = {*Chem.GetPeriodicTable().GetValenceList(electrons)}
    if not charge:
        allowed |= {*allowed_valences(number)}
    return -1 in allowed or total in allowed  # -1: RDKit sets the metals no limit


def _sanitized(graph: Chem.Mol) -> Chem.Mol | None:
    if max((atom.GetDegree() for atom in graph.GetAtoms()), default=0) > CROWD:
        return None
    graph = Chem.Mol(graph)
    with rdBase.BlockLogs():
        try:
            Chem.SanitizeMol(graph)
        except ValueError:  # RDKit's chemistry errors are ValueErrors
            return None
    return graph


def _smiles(graph: Chem.Mol) -> str:
    with rdBase.BlockLogs():
        fragments = Chem.GetMolFrags(graph, asMols=True, sanitizeFrags=False)
        largest = Chem.Mol(max(fragments, key=lambda fragment: fragment.GetNumAtoms()))
        Chem.RemoveStereochemistry(largest)
        return Chem.MolToSmiles(largest)
