"""The proof: small and whole models, before and after."""
