"""Gymnasium-Robotics' PointMaze seen as images, with goal images: a ball is pushed through a maze."""
