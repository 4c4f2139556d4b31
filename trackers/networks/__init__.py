"""Siamese networks: pure modules on tensors that hold no target."""
