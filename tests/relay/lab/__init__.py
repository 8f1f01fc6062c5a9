"""Tests of shoestring.relay.lab."""
