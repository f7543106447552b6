"""Policies with Stable-Baselines3's ``predict`` protocol, and their evaluation."""
