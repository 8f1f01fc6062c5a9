"""From scores to verdicts: metrics, thresholds, grades, calibration."""
