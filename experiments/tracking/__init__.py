"""MLflow: the store, what is delivered to it, and the models in it."""
