"""From a mask to its parcels, in memory that does not grow with the scene."""
