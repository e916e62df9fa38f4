"""Batch and epoch: when the weights change, and how large a batch should be."""
