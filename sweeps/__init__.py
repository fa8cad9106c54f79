"""Searches for better settings: many runs of experiments/, guided by Optuna."""
