"""Gymnasium's Pendulum seen as images, with goal images: needs velocity, no extra, and little time."""
