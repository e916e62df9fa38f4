"""A field goes through the network that ships."""
