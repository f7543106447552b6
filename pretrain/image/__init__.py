"""Training of Image-JEPA."""
