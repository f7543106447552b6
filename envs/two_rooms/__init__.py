"""The Two Rooms environment: a point agent, a wall, a door."""
