"""World models that learn by predicting in latent space, and the planners that act with them."""

from worldmodel.version import __version__

__all__ = ["__version__"]
