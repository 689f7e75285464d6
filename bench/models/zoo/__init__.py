"""Named checkpoints: where they lie, whether they are whole, and the networks inside them."""
