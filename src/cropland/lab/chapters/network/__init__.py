"""A whole network, taken apart."""
