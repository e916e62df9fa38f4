"""From chips to a model; reading starts at train.py."""
