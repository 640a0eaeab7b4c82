"""One thread, and shape checks on request: `pytest --typecheck`."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

# What works on tensors. Molecules, files and commands take what they are given and convert it.
CHECKED = ["cloud", "noise", "scales", "gaussian", "interfaces", "diffusion"]
CHECKED += ["codecs", "processes", "networks", "symmetry", "objectives", "samplers", "recipes", "training"]
CHECKED += ["conditions", "energies"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--typecheck", action="store_true", help="check shapes and types of coset's signatures at every call"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--typecheck"):
        from jaxtyping import install_import_hook

        # Before anything of coset is imported.
        install_import_hook([f"coset.{name}" for name in CHECKED], "shape_checks.checked")
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def misshapen_is_refused(request: pytest.FixtureRequest) -> Callable[[str], AbstractContextManager]:
    """As `pytest.raises(ValueError, match=...)`, for calls whose shapes or types are wrong on purpose."""

    def refused(match: str) -> AbstractContextManager:
        if not request.config.getoption("--typecheck"):
            return pytest.raises(ValueError, match=match)
        # The checker sees the call before the library does, and refuses it in its own words.
        return pytest.raises((ValueError, TypeError), match=f"{match}|Type-check error")

    return refused
