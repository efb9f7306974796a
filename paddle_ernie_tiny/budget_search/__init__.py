"""The search for the best student within a budget: measure shapes first, then train those that fit."""
