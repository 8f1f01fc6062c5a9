"""Tests of shoestring.relay.session."""
