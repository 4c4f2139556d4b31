"""Attention strategy, image-fusion networks, their inference, training, metrics and export.

The lowest layer: imports neither ``trackers`` nor ``pipeline``.
"""
