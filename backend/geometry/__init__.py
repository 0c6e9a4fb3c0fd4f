"""Meshes, tetrahedral lattices, signed distances and charts."""
