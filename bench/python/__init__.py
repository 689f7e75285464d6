"""The benchmark from Python: `evaluate`, `benchmark` and `load` (docs/python.md)."""
