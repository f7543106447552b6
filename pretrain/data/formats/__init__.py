"""Formats in which recorded data comes, a file each."""
