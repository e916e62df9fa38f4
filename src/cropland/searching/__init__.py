"""The windows of a scene that are worth labelling next; reading starts at suggest.py."""
