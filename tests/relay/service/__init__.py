"""Tests of shoestring.relay.service."""
