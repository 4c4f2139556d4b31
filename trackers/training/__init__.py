"""Training of the trackers: sampling, losses, the resumable loop."""
