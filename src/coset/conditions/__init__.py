"""Conditions: what a model is told of the molecule that it is to draw."""
