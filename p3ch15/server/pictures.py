"""Slices and findings as the page shows them, and a scan to try the page with."""

import functools
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image

from p2ch09.phantom import make_patient, write_scan

PLANES = {"axial": "slices", "coronal": "rows", "sagittal": "columns"}  # and what each is one of
WINDOWS = {"lung": (-600, 1500), "soft": (40, 400)}  # (centre, width) in HU, as chapter 10 has them


def slice_png(raw, scan, index, window="lung") -> bytes:
    """Slice `index` as PNG, the patient's front up, from black to white what `WINDOWS[window]` shows.

    raw: the file of the scan's voxels, int16 HU, as `p3ch15.server.reader` writes it; scan: see `describe`.
    """
    shape = scan["slices"], scan["rows"], scan["columns"]
    hu = np.memmap(raw, "<i2", mode="r", shape=shape)[index]
    hu = hu[tuple(slice(None, None, step) for step in scan["steps"])]
    center, width = WINDOWS[window]
    grey = np.clip((hu.astype(np.float32) - (center - width / 2)) * (255 / width), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(grey).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def plane_voxels(raw, scan, plane, index) -> bytes:
    """One plane's voxels, int16 HU, little-endian, row by row as a picture shows them: front or head above.

    raw, scan: as in `slice_png`. plane: of `PLANES`. index: of the slice, row or column that pictures count.
    """
    shape = scan["slices"], scan["rows"], scan["columns"]
    steps = [-1 if scan["z_step_mm"] > 0 and plane != "axial" else 1, *scan["steps"]]
    upright = np.memmap(raw, "<i2", mode="r", shape=shape)[tuple(slice(None, None, step) for step in steps)]
    where = (slice(None),) * list(PLANES).index(plane) + (
        index,
    )  # not `take`, which copies the whole scan first
    return np.ascontiguousarray(upright[where]).tobytes()


def describe(ct) -> dict:
    """What a viewer must know of a scan; `steps` are -1 for rows or columns that a picture shows reversed.

    A picture shows the patient's front above and the right side on the left. Scans may be stored otherwise.
    """
    slices, rows, columns = ct.hu_a.shape
    direction = np.asarray(ct.direction_a)
    steps = [-1 if direction[1, 1] < -0.5 else 1, -1 if direction[0, 0] < -0.5 else 1]
    return {
        "slices": slices, "rows": rows, "columns": columns, "steps": steps,
        "row_mm": float(ct.vxSize_xyz.y), "column_mm": float(ct.vxSize_xyz.x), "slice_mm": float(ct.vxSize_xyz.z),
        "z_first_mm": float(ct.origin_xyz.z), "z_step_mm": float(direction[2, 2] * ct.vxSize_xyz.z),
    }  # fmt: skip


def place(ct, scan, nodule) -> dict:
    """A finding as the page wants it: `slice`, `row`, `column` in the pictures, and its measures."""
    index, row, column = (float(c) for c in nodule.center_irc)
    row_step, column_step = scan["steps"]
    return {
        "slice": index,
        "row": row if row_step > 0 else scan["rows"] - 1 - row,
        "column": column if column_step > 0 else scan["columns"] - 1 - column,
        "center_xyz": [round(float(c), 1) for c in nodule.center_xyz],
        "diameter_mm": round(float(nodule.diameter_mm), 1),
        "axes_mm": None if nodule.axes_mm is None else [round(mm, 1) for mm in nodule.axes_mm],
        "probability": round(float(nodule.probability), 4),
        "malignancy": None if nodule.malignancy is None else round(float(nodule.malignancy), 3),
    }


@functools.cache
def example_scan() -> bytes:
    """A small generated scan (no real person) as a zip of .mhd and .zraw, for readers who have none at hand."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(buffer, "w") as archive:
        write_scan(make_patient(3, (64, 192, 192), nodules=4), Path(folder))
        for path in sorted(Path(folder).iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue()
