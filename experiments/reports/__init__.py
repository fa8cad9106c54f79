"""Pages and figures of several runs."""
