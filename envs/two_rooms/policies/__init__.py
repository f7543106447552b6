"""Policies that know the geometry of Two Rooms."""
