"""Gymnasium's MuJoCo Reacher seen as images, with goal images: an arm of two links in the plane."""
