"""Candidate: one molecule on its way from a request to conformers that are checked, or to the reason of a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rdkit import Chem

from coset.energies import METHODS as ENERGIES
from coset.ensembles.core import Laid, Match, laid_onto
from coset.ensembles.methods import Method, Positions, canonical, with_conformers
from coset.ensembles.plan import Plan
from coset.ensembles.refine import Relaxed, thinned
from coset.ensembles.requests import Request
from coset.graphs.geometry import intact
from coset.graphs.stereo import Stereo, repaired
from coset.metrics.ensemble_properties import boltzmann_weights

Energies = Float[NDArray[np.float64], "k"]


@dataclass(frozen=True, eq=False)
class Result:
    """mol: with its conformers, properties on it and on them; None for a failure. reasons: of the failure, or what
    conformers were left out and why."""

    request: Request
    mol: Chem.Mol | None
    reasons: tuple[str, ...] = ()

    @property
    def conformers(self) -> int:
        return 0 if self.mol is None else self.mol.GetNumConformers()


class Candidate:
    """One molecule on its way. found: conformers that are whole and have the stereo asked for. failure: why there can
    be none."""

    def __init__(self, request: Request, method: Method, plan: Plan) -> None:
        self.request, self.plan, self.failure = request, plan, None
        self.found: list[NDArray] = []
        self.matches: Sequence[Match] = ()
        self.wanted, self.wrong, self.broken, self.unmade = plan.count, 0, 0, 0
        self.seconds, self.open = 0.0, False
        try:
            self.mol = request.mol()
            self.failure = self._refusal(method)
        except (ValueError, RuntimeError) as error:
            self.failure = sentence(error)
            return
        self.stereo = Stereo.of(self.mol)
        if self.mol.GetNumAtoms() == 1 and self.failure is None:
            self.found, self.wanted = [np.zeros((1, 3))], 1
        elif self.failure is None:
            self.open = True

    def _refusal(self, method: Method) -> str | None:
        if self.plan.core is not None:
            self.matches = self.plan.core.matches(self.mol)
            if not self.matches:
                return "the molecule does not contain the core"
        reason = None if self.mol.GetNumAtoms() == 1 else method.refusal(self.mol)
        if reason is None or method.alternative is None:
            return reason
        return f"{reason.rstrip('.')}; try --method {method.alternative}"

    @property
    def missing(self) -> int:
        return self.wanted - len(self.found)

    def add(self, positions: Positions, seconds: float) -> None:
        """What a method made in the place of those that are missing, or more, and the time that it took."""
        self.seconds += seconds
        finite = positions[np.isfinite(positions).all((1, 2))]
        right = self.stereo.right(finite).all(1)
        if not right.all():
            finite, right = repaired(self.mol, self.stereo, finite)
        whole = intact(self.mol, finite)
        self.found += list(finite[right & whole][: self.missing])
        self.broken = min(int((~whole).sum()), self.missing)
        self.wrong = min(int((whole & ~right).sum()), self.missing - self.broken)
        self.unmade = self.missing - self.broken - self.wrong
        self.open = self.missing > 0 and len(positions) > 0 and self.seconds < self.plan.seconds

    def result(self, rested: Relaxed | None, method: Method) -> Result:
        """rested: the conformers after relaxation."""
        if self.failure is not None:
            return Result(self.request, None, (self.failure,))
        reasons = self._left_out()
        if rested is None:
            return Result(self.request, None, (f"no conformer is left: {'; '.join(reasons)}",))
        reasons += [f"{self._some(lost)} were left out: {why}" for why, lost in rested.lost.items()]
        positions, laid = rested.positions, None
        if self.plan.core is not None and len(positions):
            laid = laid_onto(self.plan.core, self.matches, positions, method.keeps_core)
            positions = laid.positions
        right = np.asarray(self.stereo.right(positions).all(1))
        if lost := int((~right).sum()):
            reasons.append(f"{self._some(lost)} lost the stereo asked for on the way and were left out")
        energies = rested.energies if self.plan.after.relax else None
        rows = self._kept(positions, energies, right)
        if not len(rows):
            return Result(self.request, None, (f"no conformer is left: {'; '.join(reasons)}",))
        mol = with_conformers(self.mol, positions[rows])
        self._tell(mol, None if energies is None else energies[rows], laid, rows)
        return Result(self.request, mol, tuple(reasons))

    def _kept(self, positions: Positions, energies: Energies | None, right: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Rows of the conformers to write, in their order."""
        rows, after = np.flatnonzero(right), self.plan.after
        chosen = None if energies is None else energies[rows]
        return rows[thinned(self.mol, positions[rows], chosen, after.prune, after.window)]

    def _left_out(self) -> list[str]:
        reasons = []
        if self.wrong:
            reasons.append(f"{self._some(self.wrong)} had the wrong stereo and were left out")
        if self.broken:
            reasons.append(f"{self._some(self.broken)} had broken bonds or atoms that clash and were left out")
        if self.unmade:
            limit = f" within {self.plan.seconds:g} s" if self.seconds >= self.plan.seconds else ""
            reasons.append(f"{self._some(self.unmade)} could not be made{limit}")
        return reasons

    def _some(self, count: int) -> str:
        return f"{count} of {self.wanted} conformers"

    def _tell(self, mol: Chem.Mol, energies: Energies | None, laid: Laid | None, rows: NDArray[np.int64]) -> None:
        """Properties of the molecule and of each conformer."""
        mol.SetProp("_Name", self.request.name)
        told = {"SMILES": self.request.smiles or canonical(self.mol), **self.plan.told}
        told["stereo"] = "right" if len(self.stereo) else "none asked"
        if left := _unspecified(self.mol):
            told["stereo_left_open"] = left
        if self.plan.after.relax:
            told["energy_method"] = ENERGIES[self.plan.after.relax]
        for name, value in told.items():
            mol.SetProp(name, str(value))
        weights = None if energies is None else boltzmann_weights(energies)
        for number, (row, conformer) in enumerate(zip(rows, mol.GetConformers(), strict=True)):
            conformer.SetIntProp("conformer", number + 1)
            if energies is not None and weights is not None:
                conformer.SetDoubleProp("energy_kcal_mol", round(float(energies[number]), 4))
                conformer.SetDoubleProp("relative_energy_kcal_mol", round(float(energies[number] - energies.min()), 4))
                conformer.SetDoubleProp("boltzmann_weight_298K", round(float(weights[number]), 6))
            if laid is not None:
                conformer.SetDoubleProp("core_max_deviation_angstrom", round(float(laid.deviation[row]), 4))
                how = f"put in place, over {laid.moved[row]:.3f} A at most" if laid.exact[row] else "aligned only"
                conformer.SetProp("core", how)


def _unspecified(mol: Chem.Mol) -> int:
    """Centres and double bonds that could have a stereo mark and have none."""
    unspecified = Chem.StereoSpecified.Unspecified
    return sum(each.specified == unspecified for each in Chem.FindPotentialStereo(Chem.Mol(mol)))


def sentence(error: BaseException) -> str:
    """On one line, without its full stop."""
    text = " ".join(str(error).split()).rstrip(".")
    return text or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
