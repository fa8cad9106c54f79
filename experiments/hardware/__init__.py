"""What this machine has to compute on, asked without TensorFlow where that is possible, and what TensorFlow is told of it."""
