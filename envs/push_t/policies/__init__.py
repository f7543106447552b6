"""Policies that know the geometry and the physics of Push-T."""
