"""Collecting data: a policy acts, its episodes become a Minari dataset."""
