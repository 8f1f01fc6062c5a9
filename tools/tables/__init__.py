"""Tables of measured figures: from benchmarks/results/*.json to Markdown."""
