"""Diffusion models behind one interface; the one place that imports diffusers."""
