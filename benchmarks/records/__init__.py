"""Results: how they are stored, resumed and shown."""
