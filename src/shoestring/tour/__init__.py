"""The whole story on real text."""
