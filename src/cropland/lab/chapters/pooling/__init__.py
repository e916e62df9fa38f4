"""Pooling: what it saves, what it loses, and when it can be left out."""
