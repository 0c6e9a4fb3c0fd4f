"""A mesh file as a turning picture, and what the embedded world's classifier sees in it."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from backend.appearance.mesh_files import read_mesh_file
from backend.evaluation.classifier import load_classifier
from backend.evaluation.mesh_scores import appearance_of, render_judged_views, view_scores
from backend.render.rasteriser import choose_rasteriser
from backend.turntable import render_turntable, write_gif


def show_turning(mesh_path: Path, gif_path: Path, prompt: str, pixels: int) -> dict[str, float]:
    """Writes the GIF. Returns the shares of views that are named right, for words that the classifier knows."""
    read = read_mesh_file(mesh_path)
    rasteriser = choose_rasteriser(torch.device("cpu"))
    appearance = appearance_of(read)
    write_gif(gif_path, render_turntable(rasteriser, read.mesh, appearance, resolution=pixels))
    classifier = load_classifier()
    words = re.findall(r"[a-z]+", prompt.lower())
    shape = next((word for word in words if word in classifier.shapes), None)
    colour = next((word for word in words if word in classifier.colours), None)
    if shape is None or colour is None:
        return {}
    scores = view_scores(classifier, render_judged_views(rasteriser, read.mesh, appearance).images, shape, colour)
    return {"shape": scores.shape, "colour": scores.colour}
