"""One small patient in every form that scans come in; the writers share nothing with the readers under test."""

import gzip
import io
import itertools
import struct
import zlib
from types import SimpleNamespace

import numpy as np

SPACING = np.array([0.8, 0.7, 1.5])  # along left, back, head
ORIGIN = np.array([-20.5, 33.25, -310.0])
# (which patient axis, its sign) for each of a file's axes i, j, k: 6 orders times 8 flips.
ORDERS = [
    tuple(zip(order, signs))
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
UPRIGHT = ((0, 1), (1, 1), (2, 1))
LAYOUTS = ("<i2", ">i2", "<i4", ">f4")


def patient(shape=(14, 20, 24)):
    """(HU (k, j, i) int16 from the feet up: a lopsided body in air, with lungs; no two axes alike)."""
    k, j, i = np.indices(shape) / np.array(shape)[:, None, None, None]
    hu = np.full(shape, -1000)
    hu[(i - 0.45) ** 2 + 1.6 * (j - 0.55) ** 2 < 0.18] = 40
    hu[(i - 0.3) ** 2 + (j - 0.5) ** 2 + (k - 0.6) ** 2 < 0.03] = -850
    hu[(i - 0.7) ** 2 + (j - 0.5) ** 2 + (k - 0.4) ** 2 < 0.02] = -820
    return np.maximum(hu + 40 * i + 90 * j - 60 * k, -1020).astype(np.int16)


def turned(hu, order=UPRIGHT):
    """The same patient in another order of axes: voxels (k, j, i), origin, steps (columns: one step along i, j, k)."""
    values = hu.transpose([2 - axis for axis, _ in order[::-1]])
    steps, origin = np.zeros((3, 3)), ORIGIN.copy()
    for column, (axis, sign) in enumerate(order):
        steps[axis, column] = sign * SPACING[axis]
        if sign < 0:
            origin[axis] += SPACING[axis] * (hu.shape[2 - axis] - 1)
            values = np.flip(values, 2 - column)
    return np.ascontiguousarray(values), origin, steps


def _numbers(values):
    return " ".join(f"{v:.10g}" for v in np.ravel(values))


def nifti(path, hu, order=UPRIGHT, layout="<i2"):
    values, origin, steps = turned(hu, order)
    end = layout[0]
    header = bytearray(352)
    struct.pack_into(end + "i", header, 0, 348)
    struct.pack_into(end + "8h", header, 40, 3, *values.shape[::-1], 1, 1, 1, 1)
    code = {"i2": 4, "i4": 8, "f4": 16}[layout[1:]]
    struct.pack_into(end + "2h", header, 70, code, 8 * np.dtype(layout).itemsize)
    struct.pack_into(end + "8f", header, 76, 1, *np.linalg.norm(steps, axis=0), 0, 0, 0, 0)
    struct.pack_into(end + "3f", header, 108, 352, 1, 0)
    header[123] = 2
    struct.pack_into(end + "2h", header, 252, 0, 1)
    ras = np.diag([-1, -1, 1]) @ np.column_stack([steps, origin])
    struct.pack_into(end + "12f", header, 280, *ras.ravel())
    header[344:348] = b"n+1\0"
    data = bytes(header) + values.astype(layout).tobytes()
    path.write_bytes(gzip.compress(data, 1) if path.name.endswith(".gz") else data)


def nrrd(path, hu, order=UPRIGHT, layout="<i2", encoding="raw"):
    values, origin, steps = turned(hu, order)
    data = values.astype(layout).tobytes()
    vectors = " ".join("({})".format(",".join(f"{v:.10g}" for v in step)) for step in steps.T)
    header = [
        "NRRD0004", f"type: {({'i2': 'short', 'i4': 'int', 'f4': 'float'})[layout[1:]]}", "dimension: 3",
        "space: left-posterior-superior", f"sizes: {_numbers(values.shape[::-1])}", f"space directions: {vectors}",
        "kinds: domain domain domain", f"endian: {'big' if layout[0] == '>' else 'little'}", f"encoding: {encoding}",
        "space origin: ({})".format(",".join(f"{v:.10g}" for v in origin)), "", "",
    ]  # fmt: skip
    path.write_bytes("\n".join(header).encode() + (gzip.compress(data, 1) if encoding == "gzip" else data))


def metaimage(path, hu, order=UPRIGHT, layout="<i2", compressed=False):
    """`.mha` is local, `.mhd` has its voxels beside it."""
    values, origin, steps = turned(hu, order)
    data = values.astype(layout).tobytes()
    data = zlib.compress(data, 1) if compressed else data
    spacing = np.linalg.norm(steps, axis=0)
    beside = path.with_suffix(".zraw" if compressed else ".raw")
    lines = [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", f"ElementByteOrderMSB = {layout[0] == '>'}",
        f"CompressedData = {compressed}", f"TransformMatrix = {_numbers((steps / spacing).T)}",
        f"Offset = {_numbers(origin)}", f"ElementSpacing = {_numbers(spacing)}",
        f"DimSize = {_numbers(values.shape[::-1])}",
        f"ElementType = {({'i2': 'MET_SHORT', 'i4': 'MET_INT', 'f4': 'MET_FLOAT'})[layout[1:]]}",
        f"ElementDataFile = {'LOCAL' if path.suffix == '.mha' else beside.name}", "",
    ]  # fmt: skip
    header = "\n".join(lines).encode()
    if path.suffix == ".mha":
        path.write_bytes(header + data)
    else:
        path.write_bytes(header)
        beside.write_bytes(data)


def dicom_slices(hu, order=UPRIGHT, series_uid="1.2.3.4", layout="<i2"):
    """Datasets of a CT series, explicit little-endian, to be changed and saved. layout: "<u2" stores HU + 1024."""
    import pydicom
    from pydicom.dataset import FileMetaDataset

    values, origin, steps = turned(hu, order)
    spacing = np.linalg.norm(steps, axis=0)
    intercept = -1024 if layout[1] == "u" else 0
    for number, pixels in enumerate(values):
        one = pydicom.Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{series_uid}.{number + 1}"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = "1.2.3", series_uid, "1.2.9"
        one.Modality, one.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        one.PatientID, one.PatientName, one.PatientBirthDate, one.PatientSex = "1", "Nobody^", "", ""
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20200101", "120000", "", ""
        one.ReferringPhysicianName, one.SeriesNumber, one.AcquisitionNumber = "", 1, 1
        one.InstanceNumber = number + 1
        one.Rows, one.Columns = pixels.shape
        one.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
        one.ImageOrientationPatient = [
            f"{v:.6f}" for v in (*(steps[:, 0] / spacing[0]), *(steps[:, 1] / spacing[1]))
        ]
        one.ImagePositionPatient = [f"{v:.6f}" for v in origin + number * steps[:, 2]]
        one.SliceThickness = f"{spacing[2]:.6f}"
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
        one.PixelRepresentation = 0 if layout[1] == "u" else 1
        one.RescaleIntercept, one.RescaleSlope, one.RescaleType = str(intercept), "1", "HU"
        one.PixelData = (pixels.astype(np.int32) - intercept).astype(layout).tobytes()
        yield one


SYNTAXES = ("explicit", "implicit", "big-endian", "deflated", "RLE", "JPEG-LS", "JPEG 2000")


def dicom(folder, hu, order=UPRIGHT, syntax="explicit", layout="<i2", change=None, series_uid="1.2.3.4"):
    """Write the series into `folder`; `change(dataset, number)` may edit each, or leave it out by answering False."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(dicom_slices(hu, order, series_uid, layout)):
        if change is not None and change(one, number) is False:
            continue
        save(one, folder / f"{series_uid}-{number:03}.dcm", syntax)


def save(one, path, syntax="explicit"):
    from pydicom import uid

    if syntax == "big-endian":
        one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    known = {
        "implicit": uid.ImplicitVRLittleEndian, "big-endian": uid.ExplicitVRBigEndian,
        "deflated": uid.DeflatedExplicitVRLittleEndian, "RLE": uid.RLELossless, "JPEG-LS": uid.JPEGLSLossless,
    }  # fmt: skip
    if syntax in ("RLE", "JPEG-LS"):
        one.compress(known[syntax], generate_instance_uid=False)
    elif syntax == "JPEG 2000":
        _to_jpeg_2000(one)
    elif syntax in known:
        one.file_meta.TransferSyntaxUID = known[syntax]
    one.save_as(path, enforce_file_format=True)


def _to_jpeg_2000(one):
    import PIL.Image
    from pydicom import encaps, uid

    assert one.PixelRepresentation == 0, "Pillow encodes unsigned pixels"
    pixels = np.frombuffer(one.PixelData, "<u2").reshape(one.Rows, one.Columns)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    one.file_meta.TransferSyntaxUID = uid.JPEG2000Lossless
    one.PixelData = encaps.encapsulate([buffer.getvalue()])
    one["PixelData"].VR = "OB"
    one["PixelData"].is_undefined_length = True


# name of the form: (file name, how to write it to a path)
FILES = {
    "NIfTI": ("scan.nii", nifti),
    "NIfTI, gzip": ("scan.nii.gz", nifti),
    "NRRD": ("scan.nrrd", nrrd),
    "NRRD, gzip": ("scan.nrrd", lambda *a: nrrd(*a, encoding="gzip")),
    "MetaImage": ("scan.mhd", metaimage),
    "MetaImage, zlib": ("scan.mhd", lambda *a: metaimage(*a, compressed=True)),
    "MetaImage, local": ("scan.mha", metaimage),
    "MetaImage, local, zlib": ("scan.mha", lambda *a: metaimage(*a, compressed=True)),
}


def enhanced(path, hu):
    """The patient as one enhanced CT of several frames, frames in no order."""
    import pydicom

    slices = list(dicom_slices(hu, layout="<u2"))
    one = slices[0]
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    frames = np.random.default_rng(0).permutation(len(slices))
    one.NumberOfFrames = len(slices)
    one.PixelData = b"".join(slices[n].PixelData if n else one.PixelData for n in frames)
    shared, per_frame = pydicom.Dataset(), []

    def group(dataset, name, **values):
        item = pydicom.Dataset()
        for key, value in values.items():
            setattr(item, key, value)
        setattr(dataset, name, [item])

    group(shared, "PixelMeasuresSequence", PixelSpacing=one.PixelSpacing, SliceThickness="1.5")
    group(shared, "PlaneOrientationSequence", ImageOrientationPatient=one.ImageOrientationPatient)
    group(
        shared,
        "PixelValueTransformationSequence",
        RescaleIntercept="-1024",
        RescaleSlope="1",
        RescaleType="HU",
    )
    group(shared, "CTImageFrameTypeSequence", FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    for n in frames:
        per_frame.append(pydicom.Dataset())
        group(per_frame[-1], "PlanePositionSequence", ImagePositionPatient=slices[n].ImagePositionPatient)
    one.SharedFunctionalGroupsSequence, one.PerFrameFunctionalGroupsSequence = [shared], per_frame
    for name in (
        "PixelSpacing",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "RescaleIntercept",
        "RescaleSlope",
    ):
        delattr(one, name)
    save(one, path)


def as_patient(hu):
    """For writers that want a `p2ch09.phantom.Patient`."""
    return SimpleNamespace(
        hu=hu, origin_xyz=ORIGIN, spacing_xyz=SPACING, direction=np.eye(3), series_uid="1.2.3.4"
    )
