"""The pixels of DICOM slices as Hounsfield units (chapter 10)."""

import numpy as np

from p2ch10.dicom_files import _unreadable
from p2ch10.volume import called
from util.errors import UserError

INT16 = np.iinfo(np.int16)
COMPRESSED = b"\xfe\xff\x00\xe0"  # what compressed pixels begin with: an item


def read_pixels(slices, folder, notes):
    """(int16 (slices, rows, columns), a hint for the case that the values turn out to be no HU).

    notes: gets a sentence for what was unusual and could be read all the same.
    """
    values = np.empty((len(slices), *slices[0].size), np.int16)
    rescales, hint, opened = set(), "", (None, None)
    for place, one in zip(values, slices):
        if opened[0] != one.path:
            opened = (one.path, _open(one.path))
        stored, header, is_rescaled = opened[1]
        pixels = stored if one.frame is None else stored[one.frame]
        if pixels.shape != one.size:
            raise UserError(
                f"'{called(one.path)}' has pixels of another size than its header says; fetch it again"
            )
        slope, intercept, is_stated = _rescale(one, folder)
        rescales.add((slope, intercept))
        if not is_stated and not is_rescaled:
            hint = "RescaleSlope and RescaleIntercept are missing, so stored values cannot be turned into HU"
        hu = pixels if is_rescaled else _rescaled(pixels, header, slope, intercept)
        np.clip(
            np.rint(hu) if hu.dtype.kind == "f" else hu, INT16.min, INT16.max, out=place, casting="unsafe"
        )
    if len(rescales) > 1:
        notes.append("slices differ in their rescale to HU; each was read by its own")
    if hint:
        notes.append("the headers lack a rescale to HU; stored values were taken as HU")
    inverted = {str(one.get("PhotometricInterpretation")) for one in slices} == {"MONOCHROME1"}
    if inverted and not hint:
        hint = "the header says MONOCHROME1, so the picture may have been inverted"
    if str(slices[0].get("LossyImageCompression", "")) == "01":
        notes.append("the pixels were compressed with losses")
    return values, hint


def _open(path):
    """(pixels of one or all frames, the dataset, whether they are HU already)."""
    import pydicom

    try:
        dataset = pydicom.dcmread(path, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            if dataset.PixelData[:4] == COMPRESSED:
                raise ValueError("the compressed pixels' TransferSyntaxUID is missing")
            dataset.file_meta.TransferSyntaxUID = (
                pydicom.uid.ImplicitVRLittleEndian
                if dataset.original_encoding[0]
                else pydicom.uid.ExplicitVRLittleEndian
            )
        try:
            return dataset.pixel_array, dataset, False
        except (RuntimeError, NotImplementedError):
            if not dataset.file_meta.TransferSyntaxUID.is_compressed:
                raise
        return _by_itk(path), dataset, True
    except Exception as error:  # pydicom raises many kinds for damaged bytes
        raise _unreadable(path, error) from error


def _by_itk(path):
    """Compressed pixels by the decoders in SimpleITK, which applies the rescale as it reads."""
    import SimpleITK as sitk

    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return pixels[0] if len(pixels) == 1 else pixels


def _rescale(one, folder):
    """(slope, intercept, whether the header states them)."""
    slope, intercept = one.get("RescaleSlope"), one.get("RescaleIntercept")
    kind = str(one.get("RescaleType", "HU") or "HU").upper()
    if kind not in ("HU", "US"):
        raise UserError(
            f"the values of '{called(folder)}' are in '{kind[:16]}' (RescaleType), not Hounsfield units; "
            "give the CT in HU"
        )
    is_stated = slope not in (None, "") and intercept not in (None, "")
    return float(slope or 1), float(intercept or 0), is_stated


def _rescaled(pixels, header, slope, intercept):
    if "ModalityLUTSequence" in header:
        from pydicom.pixels import apply_modality_lut

        return apply_modality_lut(pixels, header)
    if slope == int(slope) and intercept == int(intercept):
        hu = pixels.astype(np.int32) * int(slope) + int(intercept)
    else:
        hu = pixels * np.float32(slope) + np.float32(intercept)
    padding = header.get("PixelPaddingValue")
    if isinstance(padding, int):
        hu[pixels == padding] = -1000
    return hu
