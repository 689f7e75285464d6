"""Stored results to the data of pictures, with the board's own figures. No torch."""
