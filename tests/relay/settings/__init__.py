"""Tests of shoestring.relay.settings."""
