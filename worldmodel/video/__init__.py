"""Video-JEPA: the latents of the next frames are predicted from those of the last few."""
