"""Checkpoints for others: what one says of itself, what was measured of it, its model card, and its way to a hub."""
