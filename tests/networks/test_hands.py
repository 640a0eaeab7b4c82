"""Laws of hands: the sign that real molecules have, mirror images, turns, shifts, the order of atoms, padding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from coset.cloud import Cloud
from coset.graphs.graph import APEX, TRIANGLE, collated, graph_of, read_smiles, reflected
from coset.networks.hands import told_hands
from coset.noise import Noise
from coset.symmetry.rotations import haar

CENTRES = ("C[C@H](O)CC", "C[C@@H](O)CC", "F[C@](Cl)(C)Br", "CC[S@](C)=O", "O1CC[C@@]2(CCO2)C1", "CC[N@@+](C)(CCC)CO")


def embedded(*smiles: str) -> Cloud:
    mols = [read_smiles(each) for each in smiles]
    cloud = collated([graph_of(mol) for mol in mols])
    x = cloud.x.double()
    for row, mol in enumerate(mols):
        shaped = Chem.Mol(mol)
        assert rdDistGeom.EmbedMolecule(shaped, randomSeed=7) == 0
        x[row, : mol.GetNumAtoms()] = torch.from_numpy(shaped.GetConformer().GetPositions())
    return replace(cloud, x=x, mask=cloud.mask.double())


def hands(cloud: Cloud) -> torch.Tensor:
    edges = cloud.condition.edges.double()
    return told_hands(cloud.x, edges[..., APEX], edges[..., TRIANGLE])


def corners(cloud: Cloud) -> torch.Tensor:
    return cloud.condition.edges[..., TRIANGLE].sum(-1) > 0


@pytest.mark.parametrize("smiles", CENTRES)
def test_the_last_number_is_positive_where_the_hand_is_right_and_negative_where_it_is_not(smiles):
    cloud = embedded(smiles)
    assert corners(cloud).sum() >= 3 and (hands(cloud)[..., 3][corners(cloud)] > 0.1).all()
    assert (hands(replace(cloud, x=-cloud.x))[..., 3][corners(cloud)] < -0.1).all()
    assert (hands(cloud)[~corners(cloud)] == 0).all()


def test_a_mirror_image_told_as_one_has_mirrored_normals_and_the_same_last_number():
    cloud = embedded(*CENTRES)
    image = reflected(cloud, torch.tensor([True] * len(CENTRES)))
    sign = torch.tensor([-1.0, -1.0, -1.0, 1.0])
    torch.testing.assert_close(hands(image), sign * hands(cloud))


def test_normals_turn_with_the_molecule_and_nothing_shifts_with_it():
    cloud = embedded(*CENTRES)
    turns = haar(Noise.from_seed(0, torch.arange(len(CENTRES))), reflections=False).double()
    found, told = hands(cloud), hands(replace(cloud, x=cloud.x @ turns.mT + 3))
    torch.testing.assert_close(told[..., :3], found[..., :3] @ turns.mT)
    torch.testing.assert_close(told[..., 3], found[..., 3])


def test_atoms_in_another_order_have_their_own_numbers_and_padding_none():
    cloud = embedded(*CENTRES)
    order = torch.rand(len(cloud), cloud.x.shape[1], generator=torch.Generator().manual_seed(0)).argsort(1)
    torch.testing.assert_close(hands(cloud.permute(order)), torch.take_along_dim(hands(cloud), order[..., None], 1))
    assert (hands(cloud)[cloud.mask[..., 0] == 0] == 0).all()
