"""msa: frozen encoders run once into an HDF5 cache; light fusion heads trained on it in seconds."""
