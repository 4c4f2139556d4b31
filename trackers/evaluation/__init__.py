"""Evaluation of trackers: VOT's reset-based protocol, one-pass evaluation, their measures, files and reports."""
