"""RDKit's conformers: distance geometry with experimental torsions, and MMFF94 after it as an option."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Sequence

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom
from rdkit.Geometry import Point3D

from coset.ensembles.core import Core, Match, laid_onto
from coset.ensembles.methods import SECONDS, Method, Positions
from coset.ensembles.mmff import held, lacks_parameters, minimised

_TRIES, _RANDOM_TRIES = 50, 200  # of one conformer, from distances and then from random coordinates

_ALIKE = 3  # fruitless calls after which there is nothing to wait for


class DistanceGeometry(Method):
    """ETKDGv3 (Wang, Witek, Landrum, Riniker 2020), from random coordinates where drawn distances fit no shape.

    relaxed: MMFF94 after it, without which molecules that lack parameters are refused. seconds: for a molecule; what
    is not made by then is left out. core: conformers are embedded with its distances and drawn to its places. On all
    cores, whose number changes nothing.
    """

    at_once = 1
    keeps_core = True

    def __init__(self, relaxed: bool = False, seconds: float = SECONDS, core: Core | None = None) -> None:
        self.relaxed, self.seconds, self.core = relaxed, seconds, core
        self.name = "rdkit-mmff" if relaxed else "rdkit"
        self.alternative = "rdkit" if relaxed else None

    def refusal(self, mol: Chem.Mol) -> str | None:
        return lacks_parameters(mol) if self.relaxed else None

    def around(self, core: Core) -> DistanceGeometry:
        return DistanceGeometry(self.relaxed, self.seconds, core)

    def within(self, seconds: float) -> DistanceGeometry:
        return DistanceGeometry(self.relaxed, seconds, self.core)

    def positions(self, mols: Sequence[Chem.Mol], counts: Sequence[int], seeds: Sequence[int]) -> list[Positions]:
        return [self._of_one(*each) for each in zip(mols, counts, seeds, strict=True)]

    def _of_one(self, mol: Chem.Mol, count: int, seed: int) -> Positions:
        until = time.monotonic() + self.seconds
        matches = self.core.matches(mol)[:1] if self.core is not None else []
        found = self._embedded(mol, count, seed % 2**30, until, matches[0] if matches else None)
        if self.core is not None and matches and len(found):
            laid = laid_onto(self.core, matches, found, exactly=False).positions
            return held(mol, laid, matches[0], self.core.positions, until)
        if self.relaxed and len(found):
            rested, energies, _ = minimised(mol, found, max(until - time.monotonic(), 0.0))
            return rested[np.isfinite(energies)]
        return found

    def _embedded(self, mol: Chem.Mol, count: int, seed: int, until: float, match: Match | None) -> Positions:
        """In blocks, since RDKit gives up a whole call when its time is over; the i-th try has the seed + i."""
        found: list[np.ndarray] = []
        block, random = max(4, 800 // mol.GetNumAtoms()), False
        for start in range(0, count, block):
            wanted = min(block, count - start)
            some = [] if random else self._block(mol, seed + start, wanted, False, until, match)
            random = not some  # and so for those to come
            if len(some) < wanted:
                some += self._block(mol, seed + start, wanted - len(some), True, until, match)
            found += some
            if not found:
                break
        return np.stack(found) if found else np.zeros((0, mol.GetNumAtoms(), 3))

    def _block(
        self, mol: Chem.Mol, seed: int, count: int, random: bool, until: float, match: Match | None
    ) -> list[np.ndarray]:
        """RDKit answers Ctrl-C with no conformer, as if it had failed, and keeps it from everybody else.

        A call that gave up before all tries were made is repeated; if it does better then it was stopped, and Ctrl-C is
        handed on to whom it was meant for. One that nothing can be tried of ends thrice alike.
        """
        given_up: list[tuple[int, ...]] = []
        while (left := until - time.monotonic()) > 0:
            options = self._options(seed, random, left, match)
            shaped = Chem.Mol(mol)
            with rdBase.BlockLogs():
                try:
                    rdDistGeom.EmbedMultipleConfs(shaped, count, options)
                except (RuntimeError, ValueError):  # how RDKit gives up on some cages
                    return []
            found = [conformer.GetPositions() for conformer in shaped.GetConformers()]
            tried = tuple(options.GetFailureCounts())
            if found or sum(tried) >= count * options.maxIterations or time.monotonic() > until:
                if given_up:
                    signal.raise_signal(signal.SIGINT)
                return found
            given_up.append(tried)
            if given_up[-_ALIKE:] == [tried] * _ALIKE:
                return []
        return []

    def _options(self, seed: int, random: bool, left: float, match: Match | None) -> rdDistGeom.EmbedParameters:
        options = rdDistGeom.ETKDGv3()
        options.randomSeed = seed
        options.enableSequentialRandomSeeds = True
        options.useRandomCoords = random
        options.maxIterations = _RANDOM_TRIES if random else _TRIES
        options.trackFailures = True
        options.numThreads = 0
        options.timeout = math.ceil(left)
        if match is not None and self.core is not None:
            places = {atom: Point3D(*place) for atom, place in zip(match, self.core.positions.tolist(), strict=True)}
            options.SetCoordMap(places)  # pyright: ignore[reportCallIssue]
        return options
