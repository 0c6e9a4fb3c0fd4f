"""Drawings as data: read from files, made clean, placed before the object, and what they ask of its surface."""
