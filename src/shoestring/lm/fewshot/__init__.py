"""Tasks as data: templates, choosing among candidates, accuracy and perplexity."""
