"""Frames from two streams to results: sources, pairing, registration, thermal, stream loop, sinks, commands.

The top layer: may import ``trackers`` and ``fusion``.
"""
