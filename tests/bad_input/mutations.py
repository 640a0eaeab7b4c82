"""Real files of every format that is read, and hypothesis strategies that damage them."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from rdkit import Chem, rdBase

from coset.bonds import to_rdkit
from coset.files import read, write_sdf, write_xyz
from coset.molecule import Molecule

DATA = Path(__file__).parents[1] / "data"
TOKENS = [
    b"\0", b"\r", b"\n", b"\t", b" ", b"-", b"-1", b"0", b"7", b"999", b"99999999999", b"1" * 5000, b"9" * 100_000,
    b"nan", b"-inf", b"1e400", b"1_0", b"1.5*^-6", b"\xb2", b"\xd9\xa3", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe9",
    b"X", b"R#", b"D", b"*", b"[N,O]", b'"', b"\\", b"=", b'"\\ud800"=1', b'"' * 5000, b"A" * 100_000,
    b"$$$$\n", b"M  END\n", b"M  V30 ", b"M  V30 END ATOM\n", b">  <a>\n", b"V2000", b"V3000", b"V4000",
    b"gdb 1\n", b"Properties=pos:R:3:species:S:1 ", b"\x1f\x8b", b"PK\3\4",
]  # fmt: skip
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")


@cache
def seeds(scratch: Path) -> dict[str, bytes]:
    """Whole files by name; `scratch` is a folder to write them in."""
    molecules = read(DATA / "qm9_200.npz")[:60:7]
    write_sdf(scratch / "v3000.sdf", molecules)
    write_sdf(scratch / "v3000.sdf.gz", molecules)
    write_xyz(scratch / "extended.xyz", molecules)
    (scratch / "v2000.sdf").write_text("".join(map(_v2000, molecules)))
    (scratch / "mixed.sdf").write_text(_v2000(molecules[0]) + (scratch / "v3000.sdf").read_text())
    (scratch / "plain.xyz").write_text("".join(_frame(m, f"molecule {i}") for i, m in enumerate(molecules)))
    (scratch / "qm9.xyz").write_text("".join(map(_qm9_frame, molecules)))
    arrays = {
        "n_atoms": np.array([len(m) for m in molecules]),
        "atomic_numbers": np.concatenate([m.numbers for m in molecules]).astype(np.uint8),
        "positions": np.concatenate([m.positions for m in molecules]).astype(np.float32),
        "name": np.array([f"molecule {i}" for i in range(len(molecules))]),
    }
    np.savez(scratch / "stored.npz", **arrays)
    np.savez_compressed(scratch / "packed.npz", **arrays)
    names = ["v2000.sdf", "v3000.sdf", "mixed.sdf", "v3000.sdf.gz"]
    names += ["plain.xyz", "extended.xyz", "qm9.xyz", "stored.npz", "packed.npz"]
    return {name: (scratch / name).read_bytes() for name in names}


def mutated(files: dict[str, bytes]) -> st.SearchStrategy[tuple[str, bytes]]:
    """A name with one of the formats' endings, and the bytes of a file after up to four injuries."""
    places = st.integers(0, 65535).map(lambda place: place / 65536)
    injury = st.tuples(st.sampled_from(INJURIES), places, places, st.sampled_from([*TOKENS, *files.values()]))
    injuries = st.lists(injury, min_size=1, max_size=1) | st.lists(injury, max_size=4)  # one alone goes deepest
    return st.builds(_injured, st.sampled_from(sorted(files.items())), injuries)


Injury = Callable[[bytes, float, float, bytes], bytes]


def _injured(file: tuple[str, bytes], injuries: list[tuple[Injury, float, float, bytes]]) -> tuple[str, bytes]:
    name, data = file
    if packed := name.endswith(".gz") and len(injuries) % 2:  # inside the gzip, or the gzip itself
        data = gzip.decompress(data)
    for injury, first, second, token in injuries:
        data = injury(data, first, second, token)[:1_000_000]
    return name, gzip.compress(data, 1) if packed else data


def _flip(data: bytes, first: float, second: float, token: bytes) -> bytes:
    if not data:
        return data
    place = int(first * len(data))
    return data[:place] + bytes([data[place] ^ (1 << int(8 * second))]) + data[place + 1 :]


def _delete(data: bytes, first: float, second: float, token: bytes) -> bytes:
    place = int(first * len(data))
    return data[:place] + data[place + 1 + int(second**4 * 1000) :]


def _insert(data: bytes, first: float, second: float, token: bytes) -> bytes:
    place = int(first * len(data))
    return data[:place] + token + data[place:]


def _overwrite(data: bytes, first: float, second: float, token: bytes) -> bytes:
    place = int(first * len(data))
    return data[:place] + token + data[place + len(token) :]


def _splice(data: bytes, first: float, second: float, token: bytes) -> bytes:
    return data[: int(first * len(data))] + token[int(second * len(token)) :]


def _truncate(data: bytes, first: float, second: float, token: bytes) -> bytes:
    return data[: int(first * len(data))]


def _duplicate_lines(data: bytes, first: float, second: float, token: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    place = int(first * len(lines))
    return b"".join(lines[:place] + lines[place : place + 1 + int(9 * second)] * (2 + len(token) % 4) + lines[place:])


def _delete_lines(data: bytes, first: float, second: float, token: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    place = int(first * len(lines))
    return b"".join(lines[:place] + lines[place + 1 + int(3 * second) :])


def _swap_numbers(data: bytes, first: float, second: float, token: bytes) -> bytes:
    found = list(_NUMBER.finditer(data))
    if len(found) < 2:
        return data
    a, b = sorted((found[int(first * len(found))].span(), found[int(second * len(found))].span()))
    if a == b:
        return data
    return data[: a[0]] + data[slice(*b)] + data[a[1] : b[0]] + data[slice(*a)] + data[b[1] :]


def _replace_number(data: bytes, first: float, second: float, token: bytes) -> bytes:
    found = list(_NUMBER.finditer(data))
    if not found:
        return data
    start, stop = found[int(first * len(found))].span()
    return data[:start] + token + data[stop:]


def _encode(data: bytes, first: float, second: float, token: bytes) -> bytes:
    codec = ["utf-16", "utf-8-sig", "utf-32", "utf-16-le"][int(4 * first)]
    return data.decode("latin-1").encode(codec)


def _end_lines(data: bytes, first: float, second: float, token: bytes) -> bytes:
    return data.replace(b"\n", [b"\r\n", b"\r", b"\n\n", b""][int(4 * first)])


INJURIES: list[Injury] = [
    _flip, _delete, _insert, _overwrite, _splice, _truncate, _duplicate_lines, _delete_lines, _swap_numbers,
    _replace_number, _encode, _end_lines,
]  # fmt: skip


def _v2000(molecule: Molecule) -> str:
    with rdBase.BlockLogs():
        graph = to_rdkit(molecule)
        stream = io.StringIO()
        writer = Chem.SDWriter(stream)
        writer.write(graph)
        writer.close()
    return stream.getvalue()


def _frame(molecule: Molecule, comment: str) -> str:
    atoms = zip(molecule.symbols, molecule.positions.tolist(), strict=True)
    rows = "".join(f"{symbol} {x:.6f} {y:.6f} {z:.6f}\n" for symbol, (x, y, z) in atoms)
    return f"{len(molecule)}\n{comment}\n{rows}"


def _qm9_frame(molecule: Molecule) -> str:
    """As in the archive of QM9: Mathematica's exponents, charges, frequencies, SMILES and InChI."""
    atoms = zip(molecule.symbols, molecule.positions.tolist(), strict=True)
    rows = "".join(f"{symbol}\t{x:.10f}\t{y:.10f}\t{z * 1e6:.4f}*^-6\t-0.25\n" for symbol, (x, y, z) in atoms)
    return f"{len(molecule)}\ngdb 7\t157.7118\t157.7\n{rows}1341.307\t1341.3284\nC\tC\nInChI=1S/CH4\tInChI=1S/CH4\n"
