"""Every setting of a run, and the rules that its value must meet."""
