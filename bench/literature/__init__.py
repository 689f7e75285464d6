"""What was published: the papers' tables and what they claim."""
