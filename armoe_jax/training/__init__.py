"""Training: set-up, step, loop, checkpoints and validation."""
