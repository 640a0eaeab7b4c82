"""Ensembles: conformers of given molecules, made, checked, refined and written."""
