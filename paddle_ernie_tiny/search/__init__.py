"""Search for the best student within a budget: how fast and how big shapes are, before any of them is trained."""
