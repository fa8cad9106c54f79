"""Programs around the library: train, record, resume."""
