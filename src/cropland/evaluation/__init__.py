"""How right a map is: counts of pixels, boundaries in metres, and a report for a person."""
