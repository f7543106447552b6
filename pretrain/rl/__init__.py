"""Training of reinforcement learning baselines."""
