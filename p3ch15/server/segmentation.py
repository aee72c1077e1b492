"""Nodules as a DICOM Segmentation of an uploaded scan, in a process of its own (chapter 15).

    python -m p3ch15.server.segmentation SCAN NODULES OUT

A Segmentation refers to the images it was made from, so their headers have to be read once more: a stranger's files,
which the server does not open itself (see `p3ch15.server.reader`). SCAN: the folder of DICOM images. NODULES: what
`save_nodules` wrote.
"""

import argparse

import numpy as np
from scipy.special import logit

from p2ch10.scans import load_scan
from p2ch14.dicom_seg import write_dicom_seg
from p2ch14.findings import Finding
from p3ch15.server.reader import MAX_VOXELS, limit_process
from util.errors import main_guard


def save_nodules(path, nodules):
    """Write what the other process must know of findings with `voxels`: an .npz file."""
    probabilities = np.array([nodule.probability for nodule in nodules])
    voxels = {f"voxels_{number}": nodule.voxels for number, nodule in enumerate(nodules)}
    np.savez(path, probabilities=probabilities, **voxels)


def main(arguments=None):
    """The command. Raises `UserError` where the images allow no Segmentation."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan")
    parser.add_argument("nodules")
    parser.add_argument("out")
    options = parser.parse_args(arguments)
    limit_process(MAX_VOXELS)
    ct = load_scan(options.scan)
    with np.load(options.nodules) as saved:
        nodules = [
            Finding((0, 0, 0), (0, 0, 0), None, float(logit(p)), voxels=saved[f"voxels_{number}"])
            for number, p in enumerate(saved["probabilities"])
        ]
    write_dicom_seg(options.out, ct, nodules)


if __name__ == "__main__":
    main_guard(main)
