"""What the DICOM files of a folder say about themselves, before any voxel is read (chapter 10).

One `Slice` per image, be it a file of its own or a frame of an enhanced CT. Attributes: DICOM PS3.3, C.7.6.2
(plane), C.8.2.1 (CT image), C.7.6.16 (functional groups of enhanced images).
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from p2ch10.volume import called
from util.errors import UserError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED = {"1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"}  # enhanced CT, legacy converted
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "ImageType",
    "SeriesDescription", "SeriesNumber", "AcquisitionNumber", "InstanceNumber", "AcquisitionTime", "ContentTime",
    "TemporalPositionIdentifier", "ConvolutionKernel", "ContrastBolusAgent", "SliceThickness", "BodyPartExamined",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RescaleIntercept", "RescaleSlope", "RescaleType", "FrameOfReferenceUID", "LossyImageCompression",
    "ReconstructionDiameter",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PatientID", "PatientPosition",
]  # fmt: skip
NUMBERS = ("Rows", "Columns", "SamplesPerPixel", "RescaleSlope", "RescaleIntercept", "SliceThickness")
MOST_FILES = 20_000


@dataclass(eq=False)
class Slice:
    """One image: `frame` of the file at `path` (None: the file has one). Positions in mm (LPS)."""

    path: Path
    frame: int | None
    header: object = field(repr=False)  # pydicom's Dataset, without pixels
    groups: tuple = field(default=(), repr=False)  # functional groups of the frame, then those of all frames
    position: np.ndarray | None = None
    orientation: np.ndarray | None = None
    pixel_mm: tuple[float, float] | None = None  # rows, columns

    def get(self, name, otherwise=None):
        """An attribute of this image, from its frame's functional groups or the file's header."""
        for group in self.groups:
            for sequence in group:
                if sequence.VR == "SQ" and len(sequence.value) and name in sequence.value[0]:
                    return sequence.value[0][name].value
        value = self.header.get(name, otherwise)
        return otherwise if value is None else value

    @property
    def series_uid(self):
        return str(self.header.SeriesInstanceUID)

    @property
    def size(self):
        return int(self.header.Rows), int(self.header.Columns)

    @property
    def image_type(self):
        """Words such as ORIGINAL, PRIMARY, AXIAL, in capitals."""
        value = self.get("FrameType") or self.get("ImageType") or []
        return [value.upper()] if isinstance(value, str) else [str(word).upper() for word in value]

    @property
    def normal(self):
        return np.cross(self.orientation[:3], self.orientation[3:])


def dicom_files(folder) -> list[Path]:
    """The files of a DICOM folder: its own, or where it has no DICOM file itself, those of all folders below."""
    own = sorted(path for path in Path(folder).iterdir() if _may_be(path))
    if any(is_dicom(path) for path in own):
        return own
    below = []
    for path in sorted(Path(folder).rglob("*")):
        if _may_be(path):
            below.append(path)
        if len(below) > MOST_FILES:
            raise UserError(
                f"the folder '{called(folder)}' holds more than {MOST_FILES:,} files; give the folder of one study"
            )
    return below


def _may_be(path):
    return path.is_file() and not path.name.startswith(".") and path.name.upper() != "DICOMDIR"


def is_dicom(path) -> bool:
    """DICM behind 128 bytes; or, as of old archives, a first element of group 2 or 8 right away."""
    with open(path, "rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or (start[:2] in (b"\x08\0", b"\x02\0") and len(start) == 132)


def read_slices(folder, aside) -> list[Slice]:
    """Every image of the folder, in no order. Other files are passed over.

    aside: a list that gets a phrase for files that look like images and are none. Raises `UserError` where no
    image is, or where a DICOM file's header cannot be read.
    """
    import pydicom

    slices, others, strange = [], [], 0
    for path in dicom_files(folder):
        if not is_dicom(path):
            others.append(path.suffix.lower())
            continue
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS, force=True)
            for tag in TAGS:
                header.get(tag)  # a damaged value is found as it is converted
            if all(name in header for name in ("Rows", "Columns", "SeriesInstanceUID")):
                slices += _slices_of(path, header)
            else:
                strange += 1
        except Exception as error:  # pydicom raises many kinds for damaged bytes
            raise _unreadable(path, error) from error
    alike = {one.path.suffix.lower() for one in slices}
    unlike = sum(suffix in alike for suffix in others)
    if unlike:
        aside.append(f"{unlike} files that are no DICOM")
    if strange:
        aside.append(f"{strange} DICOM files without an image")
    if not slices:
        raise UserError(
            f"the folder '{called(folder)}' holds no DICOM images; give the folder with the .dcm files"
        )
    return slices


def _unreadable(path, error):
    reason = " ".join(str(error).split())[:100] or type(error).__name__
    return UserError(f"'{called(path)}' is damaged or truncated ({reason}); fetch the series again")


def _slices_of(path, header):
    # Every value that is used is looked at once, so that a damaged one is found here.
    frames = int(header.get("NumberOfFrames") or 1)
    if str(header.get("SOPClassUID")) not in ENHANCED:
        slices = [Slice(path, None if frames == 1 else 0, header)]
    else:
        shared = tuple(header.get("SharedFunctionalGroupsSequence") or ())
        per_frame = header.get("PerFrameFunctionalGroupsSequence") or ()
        if len(per_frame) != frames:
            raise ValueError(f"{frames} frames, but {len(per_frame)} described")
        slices = [Slice(path, n, header, (group, *shared)) for n, group in enumerate(per_frame)]
    for one in slices:
        one.position = _numbers(one, "ImagePositionPatient", 3)
        one.orientation = _numbers(one, "ImageOrientationPatient", 6)
        one.pixel_mm = _pixel_mm(one)
        for value in map(one.get, NUMBERS):
            if value not in (None, ""):
                float(value)
    return slices


def _pixel_mm(one):
    """(rows, columns), mm; None where the header does not tell."""
    spacing = _numbers(one, "PixelSpacing", 2)
    if spacing is not None and (spacing > 0).all():
        return tuple(float(mm) for mm in spacing)
    diameter = one.get("ReconstructionDiameter")  # of the field of view, which the image fills
    if diameter and float(diameter) > 0 and one.size[0] == one.size[1]:
        return (float(diameter) / one.size[0],) * 2
    return None


def _numbers(one, name, count):
    value = one.get(name)
    if value is None or value == "":
        return None
    numbers = np.array([float(v) for v in value])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise ValueError(f"{name} is {value}")
    return numbers
