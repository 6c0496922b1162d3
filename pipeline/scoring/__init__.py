"""`msa predict --out FILE`: predicts many posts in blocks, and continues after a kill where it stopped."""
