"""More task text from the training rows: words replaced by what fits their place, entities by others of their type."""
