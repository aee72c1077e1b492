"""Looking at an embedding (chapter 4, "Text embeddings"): nearest neighbours, and all of it in a plane."""

import math

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.text import Text

from util.plotting import BLUE


def flatten_to_plane(vectors: torch.Tensor) -> torch.Tensor:
    """(V, 2): the vectors seen from where they differ most (principal components)."""
    centered = vectors - vectors.mean(0)
    _, _, directions = torch.linalg.svd(centered, full_matrices=False)
    # The sign of a direction is free; fixing it makes the picture repeatable.
    directions = directions[:2]
    largest = directions.abs().argmax(1, keepdim=True)
    return centered @ (directions * directions.gather(1, largest).sign()).t()


def nearest(vectors: torch.Tensor, index: int, count: int = 4) -> list[int]:
    """Indices of the `count` vectors with the smallest angle to vector `index`, itself left out."""
    similarity = F.cosine_similarity(vectors, vectors[index][None])
    similarity[index] = -2
    return similarity.topk(count).indices.tolist()


def draw_plane(plane: torch.Tensor, names, title: str):
    """Draw (V, 2) points with their names; those of points that almost touch share a box. Returns the figure."""
    figure, axis = plt.subplots(figsize=(9.5, 7))
    axis.scatter(*plane.t(), s=14, color=BLUE)
    axis.set(xlabel="first principal component", ylabel="second principal component", title=title)
    axis.margins(0.1)
    figure.canvas.draw()
    taken = []
    for group in sorted(_close_groups(plane), key=len, reverse=True):
        words = sorted(names[index] for index in group)
        lines = [", ".join(words[start : start + 3]) for start in range(0, len(words), 3)]
        text = ",\n".join(lines)
        _place_label(axis, text, plane[group].mean(0).tolist(), len(group) > 1, taken)
    return figure


def _close_groups(plane):
    """Lists of the indices of points that lie within a small step of the first of them."""
    reach = torch.tensor([0.035, 0.035]) * (plane.amax(0) - plane.amin(0))
    left = list(range(len(plane)))
    while left:
        near = ((plane[left] - plane[left[0]]).abs() < reach).all(1).tolist()
        yield [index for index, is_near in zip(left, near, strict=True) if is_near]
        left = [index for index, is_near in zip(left, near, strict=True) if not is_near]


def _place_label(axis, text, place, boxed, taken):
    """Write `text` as near to `place` as no other label is in its way; `taken` collects the labels' boxes."""
    box = {"boxstyle": "round,pad=0.2", "fc": "white", "ec": "0.75", "alpha": 0.9} if boxed else None
    line = {"arrowstyle": "-", "color": "0.6", "lw": 0.6}
    label = axis.annotate(
        text, place, xytext=(4, 3), textcoords="offset points", fontsize=7.5, bbox=box, arrowprops=line
    )
    # A label that counted in the layout would shift the picture below the others.
    label.set_in_layout(False)
    renderer, inside = axis.figure.canvas.get_renderer(), axis.get_window_extent()
    for distance in (4, 12, 22, 34, 48, 64, 84):
        for turn in range(10):
            angle = math.tau * (turn / 10 + 0.08)
            extent = _text_extent(label, renderer)
            across = (math.cos(angle) - 1) / 2 * extent.width * 72 / axis.figure.dpi
            up = (math.sin(angle) - 1) / 2 * extent.height * 72 / axis.figure.dpi
            label.set_position((distance * math.cos(angle) + across, distance * math.sin(angle) + up))
            extent = _text_extent(label, renderer).padded(1.5)
            fits = inside.contains(extent.x0, extent.y0) and inside.contains(extent.x1, extent.y1)
            if fits and not any(extent.overlaps(other) for other in taken):
                taken.append(extent)
                return
    taken.append(extent)


def _text_extent(label, renderer):
    """The extent of an annotation's text and box, without the line to its point."""
    label.update_positions(renderer)
    return Text.get_window_extent(label, renderer)
