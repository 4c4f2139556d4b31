"""Weights that ship with the project, each with a model card beside it (data only)."""
