"""Gymnasium environments of this project; importing the package registers them."""
