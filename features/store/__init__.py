"""The embedding store: append-only HDF5 parts, found by content key."""
