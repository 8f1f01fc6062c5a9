"""Tests of shoestring.relay.vendors."""
