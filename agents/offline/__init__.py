"""Agents that learn from recorded data: goal-conditioned behaviour cloning, inverse dynamics, values."""
