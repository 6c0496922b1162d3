"""Stage one: posts in, embeddings out (samples, encoders, store, extract)."""
