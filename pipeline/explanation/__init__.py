"""What a prediction rested on: attention over patches and words, weights of the modalities."""
