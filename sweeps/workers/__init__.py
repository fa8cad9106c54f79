"""Who runs trials: launchers, workers, and the process of each trial."""
