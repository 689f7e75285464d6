"""How fast and how large: run by hand, never by `make test`. Figures: docs/performance.md."""
