"""Ablation studies: variants of one recipe, over tasks and seeds, and their report."""
