"""Normalisation: what is learnt, what is tracked and what is frozen."""
