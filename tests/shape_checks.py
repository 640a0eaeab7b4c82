"""The checker behind `pytest --typecheck`: beartype, to which an int is a float, as it is to Python's own rules."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
