"""Parcels are handed in to an office: cut by regions, without slivers, with net areas, codes and a topology report."""
