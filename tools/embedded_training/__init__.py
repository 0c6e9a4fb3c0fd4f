"""Trains the diffusion prior that ships with the package, and the classifier that judges it."""
