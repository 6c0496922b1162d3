"""Settings of heads, training and data: one dataclass each, checked once."""
