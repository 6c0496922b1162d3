"""PostCollector as they lie on disk: every reader, and the content keys of images and texts."""
