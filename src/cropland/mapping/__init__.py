"""From a scene to its map: probability, cleaned mask, parcels and pictures."""
