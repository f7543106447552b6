"""The agent that plans with a world model."""
