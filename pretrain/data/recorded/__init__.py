"""Recorded episodes as a source of training data."""
