"""The numbers of docs/results.md: searches and trainings of the presets, their tables and figures."""
