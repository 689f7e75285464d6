"""Files that others made: read without running them, recognised by their tensors."""
