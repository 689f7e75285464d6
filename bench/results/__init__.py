"""What was measured: records, their folder, their archive, their merging."""
