"""A report that opens in any browser: one self-contained HTML file with pictures of every finding."""

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from p2ch14.hits import UNSIZED_MM
from util.files import atomic_path
from util.plotting import SKY, VERMILION

LUNG_WINDOW = (-1200, 300)  # HU shown as black and white
EXTENT_MM = 60  # edge of a finding's picture
MOST_PICTURES = 20

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)


def scan_section(ct, result, threshold, truth=""):
    """What the report says of one scan: a dict for the template. Pictures are drawn now, so `ct` can go."""
    nodules = result.nodules(threshold)
    return {
        "path": result.path,
        "series_uid": result.series_uid,
        "seconds": result.seconds,
        "candidates": len(result.findings),
        "nodules_count": len(nodules),
        "threshold": threshold,
        "truth": truth,
        "warnings": result.warnings,
        "rows": nodules,
        "overview": overview_picture(ct, nodules),
        "pictures": [
            finding_picture(ct, finding, number) for number, finding in enumerate(nodules[:MOST_PICTURES], 1)
        ],
    }


def write_report(path, sections):
    """Write the HTML file; sections: what `scan_section` answers, one per scan."""
    with atomic_path(path) as temporary:
        temporary.write_text(
            TEMPLATES.get_template("report.html").render(sections=sections), encoding="utf-8"
        )


def _png(figure) -> str:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, dpi=80, facecolor="white")
    return base64.b64encode(buffer.getvalue()).decode()


def overview_picture(ct, nodules) -> str:
    """Front view and view from the feet, thick-slab projections in true aspect, with numbered circles."""
    hu = ct.hu_a[:, ::2, ::2]
    sx, sy, sz = ct.vxSize_xyz
    depth, height, width = hu.shape
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    front_axis, feet_axis = figure.subplots(1, 2)
    views = (
        (front_axis, _slab(hu, axis=1), sz / (2 * sx), "front", (0, 2), ct.direction_a[2, 2] > 0),
        (feet_axis, _slab(hu, axis=0), sy / sx, "feet", (1, 2), False),
    )
    for axis, image, aspect, name, (down, across), flip in views:
        axis.imshow(
            image, cmap="gray", vmin=LUNG_WINDOW[0], vmax=LUNG_WINDOW[1], aspect=aspect,
            origin="lower" if flip else "upper",
        )  # fmt: skip
        axis.set_title(f"seen from the {name}", fontsize=11)
        axis.set_axis_off()
        for number, finding in enumerate(nodules, 1):
            where = [c / (1 if a == 0 else 2) for a, c in enumerate(finding.center_irc)]
            axis.plot(where[across], where[down], "o", mfc="none", mec=VERMILION, ms=13, mew=1.8)
            axis.annotate(
                str(number), (where[across], where[down]), (8, 6), textcoords="offset points",
                color=SKY, fontsize=11, fontweight="bold",
            )  # fmt: skip
    return _png(figure)


def _slab(hu, axis):
    """Mean of the brightest tenth along `axis`: shows vessels and nodules, softer than a maximum."""
    size = hu.shape[axis]
    middle = np.take(hu, range(size // 4, size - size // 4), axis=axis)
    keep = max(middle.shape[axis] // 10, 1)
    brightest = np.partition(middle, middle.shape[axis] - keep, axis=axis)
    return np.take(brightest, range(middle.shape[axis] - keep, middle.shape[axis]), axis=axis).mean(axis=axis)


def finding_picture(ct, finding, number) -> str:
    """Axial, coronal and sagittal cuts through one finding, with a 10 mm bar and the measured circle."""
    sx, sy, sz = (float(s) for s in ct.vxSize_xyz)
    size_irc = (sz, sy, sx)
    center = [round(c) for c in finding.center_irc]
    center = [min(max(c, 0), n - 1) for c, n in zip(center, ct.hu_a.shape)]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    malignancy = "" if finding.malignancy is None else f", malignancy {finding.malignancy:.2f}"
    figure.suptitle(
        f"Finding {number}: probability {finding.probability:.3f}, {finding.size}{malignancy}",
        fontsize=12,
    )
    head_up = ct.direction_a[2, 2] > 0
    planes = (("axial", 0, 1, 2, False), ("coronal", 1, 0, 2, head_up), ("sagittal", 2, 0, 1, head_up))
    for axis, (name, cut, down, across, flip) in zip(figure.subplots(1, 3), planes):
        image = np.take(ct.hu_a, center[cut], axis=cut)
        edge_mm = [0, image.shape[1] * size_irc[across], image.shape[0] * size_irc[down], 0]
        axis.imshow(image, cmap="gray", vmin=LUNG_WINDOW[0], vmax=LUNG_WINDOW[1], extent=edge_mm)
        x_mm = (center[across] + 0.5) * size_irc[across]
        y_mm = (center[down] + 0.5) * size_irc[down]
        half = EXTENT_MM / 2
        axis.set_xlim(x_mm - half, x_mm + half)
        axis.set_ylim(*((y_mm - half, y_mm + half) if flip else (y_mm + half, y_mm - half)))
        angle = np.linspace(0, 2 * np.pi, 80)
        radius = (finding.diameter_mm or UNSIZED_MM) / 2 + 2
        axis.plot(x_mm + radius * np.cos(angle), y_mm + radius * np.sin(angle), color=VERMILION, lw=1.5)
        low = y_mm - half + 4 if flip else y_mm + half - 4
        axis.plot([x_mm - half + 4, x_mm - half + 14], [low, low], color=SKY, lw=3)
        axis.annotate("10 mm", (x_mm - half + 15, low), color=SKY, fontsize=10, va="center")
        axis.set_title(name, fontsize=11)
        axis.set_axis_off()
        axis.set_facecolor("black")
    return _png(figure)
