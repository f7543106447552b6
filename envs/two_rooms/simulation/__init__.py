"""Two Rooms as arithmetic on arrays: trajectories to train on, true dynamics, checks of world models."""
