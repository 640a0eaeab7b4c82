"""The command line."""

import sys

try:
    from coset.cli.main import main
except KeyboardInterrupt:  # Ctrl-C in the first tenths of a second
    sys.stderr.write("interrupted\n")
    raise SystemExit(130) from None

__all__ = ["main"]
