"""Images: where they come from, and the `Dataset` that every source ends in."""
