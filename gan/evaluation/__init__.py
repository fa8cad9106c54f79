"""Scores of a generator: feature extractors, distances between feature sets, and the scorer that uses both."""
