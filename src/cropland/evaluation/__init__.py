"""How right a map is: pixels, boundaries in metres, fields, probabilities, robustness, and a report for a person."""
