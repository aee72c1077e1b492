"""Nodules as a DICOM Segmentation, which radiology software opens over its CT (chapter 14).

highdicom, the field's library, writes the object; here the nodules' voxels find back to the images that the
scan was read from. Each nodule is a segment of its own. DICOM PS3.3, A.51.
"""

import numpy as np

from p2ch10.dsets import Ct
from util.errors import UserError
from util.files import atomic_path

MAKER = {"manufacturer": "deep-learning-course", "manufacturer_model_name": "p2ch14.nodule_analysis"}
VERSION = "1"


def write_dicom_seg(path, ct: Ct, nodules):
    """Write one segment per nodule; it refers to the images that `ct` was read from, by UID.

    nodules: findings with `voxels`. Raises `UserError` for a scan that did not come from axial DICOM images,
    and where there is no nodule: a segmentation without segments is no valid object.
    """
    import highdicom
    from pydicom.sr.codedict import codes

    if not ct.slices:
        raise UserError(
            f"the scan {ct.series_uid} was not read from axial DICOM images, so --dicom-seg has nothing to refer "
            "to; use --mask, which any format allows"
        )
    if not nodules:
        raise UserError(
            f"no nodule was found in {ct.series_uid}, and a DICOM Segmentation needs one; nothing written"
        )
    if any(nodule.voxels is None for nodule in nodules):
        raise ValueError("a nodule has no voxels; give the findings as the analysis answered them")
    sources, planes = _sources(ct)
    masks = np.stack([_as_stored(ct, nodule.voxels)[planes] for nodule in nodules], axis=-1)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=MAKER["manufacturer_model_name"], version=VERSION, family=codes.DCM.ArtificialIntelligence
    )
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"nodule {number} (probability {nodule.probability:.3f})"[:64],
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, nodule in enumerate(nodules, 1)
    ]
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=masks,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=segments,
        series_instance_uid=highdicom.UID(),
        series_number=900,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        software_versions=VERSION,
        device_serial_number="none",
        series_description="NODULES, FOR LEARNING ONLY",
        content_label="NODULES",
        **MAKER,
    )
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def _as_stored(ct, voxels):
    """The marked voxels, uint8 (I, R, C), with rows and columns in the order of the images they came from."""
    marked = np.zeros(ct.hu_a.shape, dtype=np.uint8)
    marked.ravel()[voxels] = 1
    along_row, along_column = np.split(ct.slices[0].orientation, 2)
    if abs(along_row @ ct.direction_a[:, 0]) < abs(along_row @ ct.direction_a[:, 1]):
        marked = marked.swapaxes(1, 2)
        way_of_rows, way_of_columns = along_column @ ct.direction_a[:, 0], along_row @ ct.direction_a[:, 1]
    else:
        way_of_rows, way_of_columns = along_column @ ct.direction_a[:, 1], along_row @ ct.direction_a[:, 0]
    marked = marked[:, ::-1] if way_of_rows < 0 else marked
    return marked[:, :, ::-1] if way_of_columns < 0 else marked


def _sources(ct):
    """(the datasets behind the scan, for each of their images the slice of `ct` that shows it)."""
    import pydicom

    files = list(dict.fromkeys(one.path for one in ct.slices))
    sources = [pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in files]
    if ct.slices[0].frame is None:
        return sources, list(range(len(ct.slices)))
    by_frame = {one.frame: index for index, one in enumerate(ct.slices)}
    if len(files) > 1 or len(by_frame) != int(sources[0].NumberOfFrames):
        raise UserError(
            f"the scan {ct.series_uid} is a part of an enhanced CT; --dicom-seg needs a series that is one scan"
        )
    return sources, [by_frame[frame] for frame in range(len(by_frame))]
