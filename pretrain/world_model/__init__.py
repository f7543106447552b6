"""Training of action-conditioned world models."""
