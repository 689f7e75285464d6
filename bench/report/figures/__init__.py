"""Data to figures, and figures to files. Nothing here reads results or runs a network."""
