"""What a person types and sees: command lines, messages, progress, signals."""
