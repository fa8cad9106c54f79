"""What experiments/runs.py does: the list of runs, removing, tidying and checking the records."""
