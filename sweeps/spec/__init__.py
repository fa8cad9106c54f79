"""What a search is: its settings, its space, its plan."""
