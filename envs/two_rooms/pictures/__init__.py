"""What Two Rooms looks like, to agents and to people."""
