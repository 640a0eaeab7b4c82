"""A damaged store is one sentence, wherever it is cut, and a full disk leaves none."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coset.data import Store, StoreWriter, open_dataset
from coset.data.arrays import ArrayWriter

FILES = ("meta.json", *(f"{name}.bin" for name in ("numbers", "positions", "offsets", "ids", "split", "energy")))
CUTS = (0.0, 0.01, 0.3, 0.5, 0.9, 1.0)  # 1.0 stands for all but one byte


def write(path: Path, packed: bool = False) -> Path:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 9, 50)
    numbers, positions = rng.choice([1, 6, 8, 17], sizes.sum()), rng.normal(size=(sizes.sum(), 3))
    with StoreWriter(path, packed=packed, units={"energy": "eV"}) as writer:
        writer.append(numbers, positions, sizes, split=np.arange(50) % 3, energy=rng.normal(size=50))
    return path


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "packed"])
def store(request, tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("stores") / "store", request.param)


@pytest.fixture
def copied(store, tmp_path) -> Path:
    return Path(shutil.copytree(store, tmp_path / "store"))


def use(path: Path) -> None:
    """Everything that a training asks of a store."""
    data = open_dataset(path)
    data.store.collate(np.arange(len(data.store)))
    data.describe()
    data.store.verify()


def test_the_store_is_whole_before(copied):
    use(copied)
    assert len(open_dataset(copied).store) > 0


@pytest.mark.parametrize("keep", CUTS)
@pytest.mark.parametrize("name", FILES)
def test_a_store_cut_anywhere_is_refused_when_opened(copied, name, keep):
    file = copied / name
    data = file.read_bytes().rstrip(b"\n") if name == "meta.json" else file.read_bytes()
    file.write_bytes(data[: min(int(keep * len(data)), len(data) - 1)])
    with pytest.raises(ValueError, match=f"{copied}.*(copy|build)") as caught:
        Store.open(copied)
    assert "\n" not in str(caught.value)


def test_meta_json_cut_anywhere_is_refused(copied):
    file = copied / "meta.json"
    data = file.read_bytes().rstrip()
    for length in {*range(0, len(data), 11), len(data) - 1}:
        file.write_bytes(data[:length])
        with pytest.raises(ValueError, match="is not the description"):
            Store.open(copied)


@pytest.mark.parametrize("name", FILES[1:])
def test_longer_and_missing_files_are_refused_when_opened(copied, name):
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data + b"\0")
    with pytest.raises(ValueError, match=f"{name} has {len(data) + 1} bytes, {len(data)} expected"):
        Store.open(copied)
    (copied / name).unlink()
    with pytest.raises(ValueError, match=f"{name} has 0 bytes"):
        Store.open(copied)
    (copied / name).mkdir()
    with pytest.raises(ValueError, match=f"{name} has 0 bytes"):
        Store.open(copied)


@pytest.mark.parametrize("name", FILES[1:])
def test_changed_bytes_are_found_by_the_sums_and_never_crash(copied, name):
    file = copied / name
    data = file.read_bytes()
    for place in np.linspace(0, len(data) - 1, 12).astype(int).tolist():
        for value in (0, 255, data[place] ^ 1):
            if value != data[place]:
                file.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
                with pytest.raises(ValueError, match=r"damaged|contradict|Elements outside"):
                    use(copied)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", "zip"), ("version", 2), ("version", "1"), ("version", None), ("name", 3), ("name", None),
        ("molecules", "50"), ("molecules", -1), ("molecules", 0), ("molecules", 10**30), ("molecules", 49),
        ("molecules", 50.5), ("molecules", True), ("atoms", 3), ("atoms", []), ("vocabulary", []), ("units", {"a": 1}),
        ("vocabulary", [0]), ("vocabulary", [300]), ("vocabulary", [1, 1]), ("vocabulary", "HC"), ("arrays", []),
        ("arrays", {}), ("arrays", None), ("arrays", {"numbers": {}}), ("licence", {}), ("units", []),
    ],
)  # fmt: skip
def test_wrong_values_in_meta_json_are_refused(copied, key, value):
    meta = json.loads((copied / "meta.json").read_text())
    (copied / "meta.json").write_text(json.dumps(meta | {key: value}))
    with pytest.raises(ValueError, match=str(copied)) as caught:
        Store.open(copied)
    assert "\n" not in str(caught.value)
    if value is not None and key in meta:
        (copied / "meta.json").write_text(json.dumps({name: each for name, each in meta.items() if name != key}))
        if key not in ("units", "licence"):
            with pytest.raises(ValueError, match=str(copied)):
                Store.open(copied)


@pytest.mark.parametrize("name", ["numbers", "positions", "offsets", "ids", "split", "energy"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dtype", "|O"), ("dtype", ">f4"), ("dtype", "<f16"), ("dtype", "<U4"), ("dtype", 3), ("dtype", "|b1"),
        ("shape", []), ("shape", [-1]), ("shape", [10**30]), ("shape", "50"), ("shape", [50.0]), ("shape", [2, 25]),
        ("shape", None), ("encoding", "zip"), ("encoding", None), ("sha256", "0"), ("sha256", "0" * 64),
    ],
)  # fmt: skip
def test_wrong_entries_of_an_array_are_refused(copied, name, key, value):
    meta = json.loads((copied / "meta.json").read_text())
    meta["arrays"][name][key] = value
    (copied / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=str(copied)) as caught:
        use(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "3", '"a"', "[" * 100_000, "\xff\xfe", '{"format": "x"}'])
def test_a_foreign_meta_json_is_refused(copied, text):
    (copied / "meta.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="is not the description of a molecule store"):
        Store.open(copied)


def test_arrays_may_not_lie_elsewhere(copied):
    meta = json.loads((copied / "meta.json").read_text())
    meta["arrays"]["../../outside"] = meta["arrays"]["energy"]
    (copied / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="not known here"):
        Store.open(copied)


def test_a_foreign_folder_is_told_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no meta\.json; .*run `coset data build .* -o STORE` first"):
        open_dataset(tmp_path)


FILLING = """
import resource, signal, sys
import numpy as np
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
from coset.data import StoreWriter
with StoreWriter(sys.argv[1]) as writer:
    for _ in range(10):
        writer.append(np.ones(500, int), np.zeros((500, 3)), np.ones(500, int))
"""


@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_file_that_cannot_grow_leaves_no_store(tmp_path, limit):
    """The kernel's own refusal: within a chunk, and at the last flush, which fails a second time when closed."""
    done = subprocess.run(
        [sys.executable, "-c", FILLING, tmp_path / "store", str(limit)], capture_output=True, text=True, check=False
    )
    assert "File too large" in done.stderr.splitlines()[-1] and str(tmp_path / "store") in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["append", "close"])
@pytest.mark.parametrize("calls", [1, 3, 5])
def test_a_full_disk_leaves_no_store(tmp_path, monkeypatch, method, calls):
    whole, count = getattr(ArrayWriter, method), iter(range(1, 100))

    def full(self, *arguments):
        if next(count) >= calls:
            raise OSError(28, "No space left on device")
        return whole(self, *arguments)

    monkeypatch.setattr(ArrayWriter, method, full)
    with pytest.raises(OSError, match=rf"No space left on device.*{tmp_path / 'store'}"):
        write(tmp_path / "store")
    assert not list(tmp_path.iterdir())
