"""Text from a session: sampling, beams, text as it comes."""
