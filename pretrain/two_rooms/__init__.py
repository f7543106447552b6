"""Training data that a simulation of Two Rooms gives."""
