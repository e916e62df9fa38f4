"""How much cropland there is: a stratified sample of a mask, looked at by people, and the area with its interval."""
