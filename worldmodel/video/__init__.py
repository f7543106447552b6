"""Video-JEPA: the latents of the last frames predict those of the next."""
