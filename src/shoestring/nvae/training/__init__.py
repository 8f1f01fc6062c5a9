"""Training: settings, a step, a run."""
