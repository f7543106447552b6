"""Pillars: a disc among round pillars, and the template of an environment with a domain of its own."""
