"""Figures of a validation: sums with their weights, so that ranks and batches can be added up."""
