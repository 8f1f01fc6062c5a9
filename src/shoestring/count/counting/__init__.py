"""From documents to counts: batches, workers, tallies in memory, sorted runs on disk."""
