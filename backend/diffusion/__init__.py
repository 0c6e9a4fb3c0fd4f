"""Diffusion models behind one interface; the one place that imports diffusers."""

from pathlib import Path

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"
"""The pipeline that ships with the package, and beside it the classifier that judges it."""
EMBEDDED_CONTROL_FOLDER = Path(__file__).parent / "embedded_controlnet"
"""The ControlNet of that pipeline, which reads line drawings."""
