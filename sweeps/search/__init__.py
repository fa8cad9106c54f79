"""One search from its plan to its report."""
