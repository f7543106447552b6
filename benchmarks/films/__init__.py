"""Films of agents that plan."""
