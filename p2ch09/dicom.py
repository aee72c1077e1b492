"""Generated patients as DICOM series, the form in which hospitals keep scans (chapters 4 and 9).

    python -m p2ch09.dicom --seed 4 --out data/my_series

Attributes are those of the standard's CT Image module (DICOM PS3.3, C.8.2.1). Every file says in its
series description and its patient's name that nobody was scanned.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np

from util.datasets import Dataset
from util.errors import UserError, main_guard
from util.files import atomic_path
from util.paths import data_root, shown

# What a scanner with 12 bits stores for the lowest value; the files keep HU - INTERCEPT.
INTERCEPT = -1024
LARGEST = 4095
# Files may not differ from run to run, so their date is fixed.
DATE, TIME = "20200101", "120000"


def _uid(series_uid: str, *parts) -> str:
    """A UID below the series' that is the same for the same series; at most 64 characters."""
    digits = int(hashlib.sha256("/".join(map(str, (series_uid, *parts))).encode()).hexdigest()[:30], 16)
    return f"2.25.90009.{digits}"


def write_dicom_series(patient, folder, description="GENERATED, NOT A REAL PATIENT"):
    """Write a generated `p2ch09.phantom.Patient` as one `.dcm` file per slice into `folder`.

    As on a real archive's disc, the files' names say nothing about the slices' order: that is in
    ImagePositionPatient. Values beyond 12 bits (below -1024 HU) are cut off, as scanners do. The same
    patient gives the same bytes. Returns the files' paths, in order of the slices. Raises `UserError`
    where the folder holds DICOM files already.
    """
    import pydicom

    folder = Path(folder)
    if any(folder.glob("*.dcm")):
        raise UserError(f"'{shown(folder)}' holds DICOM files already; give an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.clip(patient.hu.astype(np.int32) - INTERCEPT, 0, LARGEST).astype("<u2")  # (Z, Y, X)
    names = np.random.default_rng(len(stored)).permutation(len(stored))
    paths = []
    for index, pixels in enumerate(stored):
        file = _header(patient, index, description)
        _place(file, patient, index)
        _pixels(file, pixels)
        path = folder / f"{names[index]:06d}.dcm"
        pydicom.dcmwrite(path, file, enforce_file_format=True)
        paths.append(path)
    return paths


def _header(patient, index, description):
    """A DICOM file without pixels: whose scan it is, and which slice."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(patient.series_uid, "slice", index)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    file.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    file.SOPClassUID = CTImageStorage
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.StudyDate = file.SeriesDate = file.ContentDate = DATE
    file.StudyTime = file.SeriesTime = file.ContentTime = TIME
    file.AccessionNumber = file.ReferringPhysicianName = file.StudyID = ""
    file.Modality = "CT"
    file.Manufacturer = "p2ch09"
    file.SeriesDescription = description
    file.PatientName = "Generated^Patient"
    file.PatientID = _uid(patient.series_uid, "patient")[-12:]
    file.PatientBirthDate = file.PatientSex = ""
    file.BodyPartExamined = "CHEST"
    file.SliceThickness = f"{float(patient.spacing_xyz[2]):g}"
    file.KVP = "120"
    file.PatientPosition = "HFS"
    file.StudyInstanceUID = _uid(patient.series_uid, "study")
    file.SeriesInstanceUID = patient.series_uid
    file.FrameOfReferenceUID = _uid(patient.series_uid, "frame")
    file.PositionReferenceIndicator = ""
    file.SeriesNumber = file.AcquisitionNumber = 1
    file.InstanceNumber = index + 1
    return file


def _place(file, patient, index):
    """Say where in the patient slice `index` lies."""
    spacing_x, spacing_y, spacing_z = (float(mm) for mm in patient.spacing_xyz)
    row_direction, column_direction, slice_direction = np.asarray(patient.direction, float).T
    position = np.asarray(patient.origin_xyz, float) + index * spacing_z * slice_direction
    # A decimal string has at most 16 characters.
    file.ImagePositionPatient = [f"{mm:.8f}"[:16] for mm in position]
    file.ImageOrientationPatient = [f"{d:.10f}"[:16] for d in (*row_direction, *column_direction)]
    file.PixelSpacing = [f"{spacing_y:.8f}", f"{spacing_x:.8f}"]
    if spacing_x == spacing_y and patient.hu.shape[1] == patient.hu.shape[2]:
        file.ReconstructionDiameter = f"{spacing_x * patient.hu.shape[2]:.8f}"


def _pixels(file, pixels):
    """Put the pixels of a slice in, uint16 (Y, X), and say how they are to be read."""
    file.SamplesPerPixel = 1
    file.PhotometricInterpretation = "MONOCHROME2"
    file.Rows, file.Columns = pixels.shape
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
    file.PixelRepresentation = 0
    file.WindowCenter, file.WindowWidth = ["-500", "40"], ["1500", "400"]
    file.RescaleIntercept, file.RescaleSlope, file.RescaleType = str(INTERCEPT), "1", "HU"
    file.PixelData = pixels.tobytes()


def _generate(folder: Path):
    from p2ch09.phantom import make_patient

    write_dicom_series(make_patient(4, shape=(64, 256, 256)), folder)


class DicomSeries(Dataset):
    """The real copy is a folder called `dicom` with `.dcm` files, up to four folders below the root.

    A reader's data root may hold many other DICOM folders; none of those is meant.
    """

    def find_real(self) -> Path | None:
        root = data_root()
        for nesting in ("", "*/", "*/*/", "*/*/*/"):
            for folder in sorted(root.glob(f"{nesting}{self.name}")):
                if any(folder.glob("*.dcm")):
                    return folder
        return None


ct_dicom = DicomSeries(
    "dicom",
    generate=_generate,
    version="1",
    required=("dicom/*.dcm",),
    about="one chest CT as a DICOM series",
    licence="generated here; bring any series of your own",
)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Write a generated patient as a DICOM series.")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--shape", type=int, nargs=3, default=(64, 256, 256), metavar=("Z", "Y", "X"))
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    from p2ch09.phantom import make_patient

    if args.out.exists():
        raise UserError(f"'{shown(args.out)}' exists already; give a new folder")
    with atomic_path(args.out) as folder:
        paths = write_dicom_series(make_patient(args.seed, shape=args.shape), folder)
    print(f"{len(paths)} slices in {shown(args.out)}")


if __name__ == "__main__":
    main_guard(main)
