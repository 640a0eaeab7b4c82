"""Reproduce: published experiments and our own studies, one command each, with what they cost printed beside."""
