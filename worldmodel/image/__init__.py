"""Image-JEPA: two views of an image have one representation."""
