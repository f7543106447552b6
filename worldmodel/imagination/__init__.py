"""An actor and a critic that learn inside a world model."""
