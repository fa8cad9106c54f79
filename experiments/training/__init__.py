"""One run: its start, its training, its generator."""
