"""Warm defenses to the data of pictures, by the attack and the random numbers of a run."""
