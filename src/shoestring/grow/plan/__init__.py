"""From a wish to what happens to every tensor."""
