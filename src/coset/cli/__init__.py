"""The command line."""

from coset.cli.main import main

__all__ = ["main"]
