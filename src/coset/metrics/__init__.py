"""Metrics: pure functions of molecules; `evaluate` runs them all beside the data's own scores."""
