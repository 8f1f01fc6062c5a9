"""The rule of an architecture that has none, inferred from small models of it."""
