"""Posts on disk: the readers of all data layouts, and the content keys of images and texts."""
