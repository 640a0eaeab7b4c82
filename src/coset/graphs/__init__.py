"""Graphs: what is known of a molecule before it has a shape, and whether positions have what it asks for."""
