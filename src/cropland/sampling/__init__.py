"""The area of cropland from a sample of points: which points, a sheet to judge them, and the estimate."""
