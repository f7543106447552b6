"""Datasets and windows of them."""
