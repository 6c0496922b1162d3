"""From posts to a filled store: on this machine, in shards, or on a Ray cluster."""
