"""Data sets, committed subsets and corruption functions: images only, no networks."""
