"""Memory of freed tensors stays with the process, where it may."""

import os
import subprocess
import sys

import pytest

from coset.allocator import CHOSEN

PAGES = """
import resource, torch
from coset.allocator import keep_freed_memory
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def fetched():
    for _ in range(20):
        torch.ones(16_000_000)
    before = faults()
    for _ in range(12):
        torch.ones(16_000_000)
    return faults() - before
own = fetched()
print(own, keep_freed_memory(), fetched())
"""


def pages(**environment):
    inherited = {key: value for key, value in os.environ.items() if key not in CHOSEN}
    found = subprocess.run(
        [sys.executable, "-c", PAGES], env=inherited | environment, capture_output=True, text=True, check=True
    ).stdout.split()
    return int(found[0]), found[1] == "True", int(found[2])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator of glibc")
def test_a_tensor_that_was_freed_is_fetched_only_once():
    own, kept, after = pages()
    if not kept:
        pytest.skip("another C library than glibc")
    assert after < own / 4  # the heap may still grow by a tensor or two


def test_settings_of_the_environment_are_left_as_they_are():
    own, kept, after = pages(MALLOC_TRIM_THRESHOLD_="131072")
    assert not kept and after > own / 2
