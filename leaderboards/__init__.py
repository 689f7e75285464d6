"""Published boards with their records, and the tables of the papers as data."""
