"""What experiments/validate_proxy.py measures, one module a part."""
