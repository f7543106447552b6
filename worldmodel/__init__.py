"""World models that learn by predicting in latent space, and the planners that act with them."""

__version__ = "0.1.0"
