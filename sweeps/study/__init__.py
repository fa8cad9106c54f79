"""Where trials are kept, what guides them, and which of them count."""
