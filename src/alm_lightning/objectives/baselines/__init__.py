"""Rivals of ALM, as objectives: each one file, its paper in the docstring."""
