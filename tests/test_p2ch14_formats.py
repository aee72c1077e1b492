"""Chapter 14: the whole analysis of one patient says the same whatever the scan was stored as."""

import numpy as np
import pytest

from p2ch09.phantom import make_patient
from p2ch10.scans import load_scan
from p2ch14.pipeline import NodulePipeline
from tests import scan_files

# A file in another order of axes each, so that analysis and order are tried together.
CASES = {
    "NIfTI, gzip": ((0, -1), (1, -1), (2, 1)),
    "NRRD, gzip": ((2, 1), (0, 1), (1, -1)),
    "MetaImage": ((0, 1), (1, 1), (2, -1)),
    "MetaImage, local, zlib": ((1, 1), (0, -1), (2, 1)),
    "DICOM": ((0, 1), (1, 1), (2, 1)),
}


@pytest.mark.slow
def test_every_format_gives_the_same_nodules_at_the_same_places(tmp_path, monkeypatch):
    patient, pipeline = make_patient(3, (64, 128, 128), nodules=4), NodulePipeline()
    monkeypatch.setattr(scan_files, "SPACING", np.array(patient.spacing_xyz))
    monkeypatch.setattr(scan_files, "ORIGIN", np.array(patient.origin_xyz))
    hu = np.clip(patient.hu, -1024, 3071)
    found = {}
    for number, (form, order) in enumerate(CASES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        if form == "DICOM":
            path = folder / "ct"
            scan_files.dicom(path, hu, order)
        else:
            name, write = scan_files.FILES[form]
            path = folder / name
            write(path, hu, order)
        found[form] = pipeline.analyse(load_scan(path)).nodules(pipeline.threshold)
    (first, want), *others = found.items()
    assert want, f"no nodule in {first}"
    for form, nodules in others:
        assert len(nodules) == len(want), form
        for one, same in zip(nodules, want):
            apart = np.abs(np.subtract(one.center_xyz, same.center_xyz))
            assert (apart < np.array(patient.spacing_xyz) / 2).all(), form
            assert one.probability == pytest.approx(same.probability, abs=1e-3), form
