"""Files of models: found on disk, on hubs and mirrors, hashed, and read without running code."""
