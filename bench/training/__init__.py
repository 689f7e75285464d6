"""Training of every network that the embedded data sets need: one loop, one recipe per name."""
