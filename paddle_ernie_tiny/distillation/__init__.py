"""Losses, the objective, and the four stages."""
