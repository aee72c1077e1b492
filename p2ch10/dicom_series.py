"""Which of a folder's images are the scan, and their voxels in Hounsfield units (chapter 10).

What a hospital hands out is a study: the CT in several reconstructions, overview pictures, reformats, a PET,
reports as pictures. The headers say which is which, and what was chosen is told. Where they leave a choice,
nothing is guessed: the reader gets the list.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from p2ch10.dicom_files import CT_IMAGE, ENHANCED, Slice, _unreadable, read_slices
from p2ch10.dicom_pixels import read_pixels
from p2ch10.volume import Stored, called, check_shape
from util.errors import UserError

SAME_PLACE_MM = 0.01
# Steps between slices may be rounded, but no slice may lie further from where an even spacing has it.
MOST_OFF_STEPS = 0.25
MOST_TILTED_DEGREES = 1.0
WHOLE_SHARE = 0.5  # a stack of less than this share of the longest one's extent is a part
THICK_MM = 3.0
# By what a series may be several scans in one, the telling ones first.
SPLIT_BY = (
    "AcquisitionNumber", "FrameAcquisitionNumber", "TemporalPositionIdentifier", "TemporalPositionIndex", "StackID",
    "ConvolutionKernel", "ContrastBolusAgent", "ImageType", "SliceThickness", "AcquisitionTime", "ContentTime",
)  # fmt: skip
ABOUT_THE_PICTURE = ("SliceThickness", "ConvolutionKernel", "ContrastBolusAgent")
TELLING = 8  # so many of these are the same for all of a scan, or change only from one part of it to the next


@dataclass(eq=False)
class Stack:
    """Slices of one series that lie on one line, in order along their normal."""

    name: str  # for --series: the series UID, with ":2" for the second scan within a series
    slices: list[Slice]

    @property
    def heights(self):
        return np.array([one.position @ self.slices[0].normal for one in self.slices])

    @property
    def extent_mm(self):
        return float(np.ptp(self.heights))

    @property
    def is_axial(self):
        return abs(self.slices[0].normal[2]) > 0.8

    @property
    def is_original(self):
        return "ORIGINAL" in self.slices[0].image_type or "DERIVED" not in self.slices[0].image_type

    @property
    def thickness_mm(self):
        step = self.extent_mm / max(len(self.slices) - 1, 1)
        return max(float(self.slices[0].get("SliceThickness") or 0), step)

    def __str__(self):
        first = self.slices[0]
        said = [str(first.get("SeriesDescription", "") or "").strip()[:40], f"{len(self.slices)} slices"]
        said.append("axial" if self.is_axial else "coronal or sagittal")
        said.append(f"{self.thickness_mm:.3g} mm")
        kernel = first.get("ConvolutionKernel")
        said += [f"kernel {kernel if isinstance(kernel, str) else '/'.join(kernel)}"] if kernel else []
        return f"{self.name} ({', '.join(part for part in said if part)})"


def read_dicom(folder, series=None, max_voxels=None):
    """(the scan in a folder of DICOM files as `Stored`, its series UID).

    series: the one to read, a SeriesInstanceUID as messages list them. Raises `UserError` where headers
    leave a choice and `series` makes none, and for slices that are missing, doubled, damaged or tilted.
    """
    aside = []
    candidates = find_stacks(read_slices(folder, aside), folder, aside, series)
    stack = choose(candidates, folder, aside, series)
    notes = [f"read series {stack}" + (f"; set aside: {', '.join(aside)}" if aside else "")] if aside else []
    check_shape(folder, (len(stack.slices), *stack.slices[0].size), max_voxels)
    if stack.slices[0].get("PixelSpacing") is None and stack.slices[0].pixel_mm:
        notes.append("PixelSpacing is missing; the size of a pixel was taken from ReconstructionDiameter")
    step = _fitted_step(stack, folder)
    if not stack.is_axial:
        notes.append("the images are coronal or sagittal; they were turned to axial slices")
    values, hint = read_pixels(stack.slices, folder, notes)
    first = stack.slices[0]
    distance = float(np.linalg.norm(step[0]))
    # Columns of an image follow each other along its rows, so they are x.
    direction = np.column_stack([first.orientation[:3], first.orientation[3:], step[0] / distance])
    row_mm, column_mm = first.pixel_mm
    spacing = np.array([column_mm, row_mm, distance])
    stored = Stored(
        values, step[1], spacing, direction, notes, hint, _told_of_picture(first), tuple(stack.slices)
    )
    return stored, first.series_uid


def _told_of_picture(one):
    values = {name: one.get(name) for name in ABOUT_THE_PICTURE}
    return {
        name: value if isinstance(value, str) else "/".join(map(str, np.atleast_1d(value)))
        for name, value in values.items()
        if value not in (None, "")
    }


def find_stacks(slices, folder, aside, series=None):
    """The stacks of CT slices among `slices`; what is none is named in `aside` (a list of phrases)."""
    by_series = {}
    for one in slices:
        by_series.setdefault(one.series_uid, []).append(one)
    stacks = []
    for uid, members in by_series.items():
        if series is not None and series.partition(":")[0] != uid:
            aside.append(f"series {uid}")
            continue
        usable = _usable(members, aside)
        for group in _by_plane(usable):
            if len(group) < 2 and len(slices) > 1:
                aside.append("a single image")
                continue
            stacks += _stacks_of(uid, group, folder, aside)
    if stacks:
        return stacks
    if series is not None and series.partition(":")[0] not in by_series:
        raise UserError(
            f"'{called(folder)}' has no series '{series}'; it has {', '.join(list(by_series)[:6])}"
        )
    raise UserError(
        f"the folder '{called(folder)}' holds no CT volume ({', '.join(aside) or 'no images with a place'}); "
        "give the folder of a CT series"
    )


def _usable(members, aside):
    """Images that may be slices of a CT; the others are counted in `aside`."""
    usable, reasons = [], {}
    for one in members:
        reason = _why_not(one)
        if reason is None:
            usable.append(one)
        else:
            reasons[reason] = reasons.get(reason, 0) + 1
    aside += [f"{count} {reason}" for reason, count in reasons.items()]
    return usable


def _why_not(one) -> str | None:
    modality = str(one.get("Modality", "") or "").upper()
    kind = str(one.get("SOPClassUID", "") or "")
    if modality != "CT" and not (modality == "" and kind in {CT_IMAGE} | ENHANCED):
        return f"images of modality {modality or 'unknown'}"
    if "LOCALIZER" in one.image_type or "SCOUT" in one.image_type:
        return "overview pictures (scouts, localizers)"
    if kind and kind not in {CT_IMAGE} | ENHANCED:
        return "pictures that are no CT slices (secondary captures)"
    if int(one.get("SamplesPerPixel") or 1) != 1:
        return "pictures in colour"
    if one.frame is not None and not one.groups:
        return "images of several frames without places"
    if one.position is None or one.orientation is None:
        return "images without a place in the patient (no ImagePositionPatient or ImageOrientationPatient)"
    return None


def _by_plane(slices):
    """Groups of slices of the same size and direction."""
    groups = []
    for one in slices:
        for group in groups:
            first = group[0]
            if (
                one.size == first.size
                and one.pixel_mm == first.pixel_mm
                and np.allclose(one.orientation, first.orientation, atol=2e-3)
            ):
                group.append(one)
                break
        else:
            groups.append([one])
    return groups


def _stacks_of(uid, group, folder, aside):
    """A group as one stack, or as several where slices lie upon each other and the headers tell them apart."""
    group = _in_order(_without_copies(group, folder, aside))
    has_doubles = _has_doubles(group)
    for tag in SPLIT_BY if has_doubles else SPLIT_BY[:TELLING]:
        parts = {}
        for one in group:
            parts.setdefault(str(one.get(tag)), []).append(one)
        if len(parts) < 2 or any(_has_doubles(part) for part in parts.values()):
            continue
        if has_doubles or _are_interleaved(list(parts.values())):
            named = sorted(parts.items(), key=lambda item: (len(item[0]), item[0]))
            return [
                Stack(f"{uid}:{number}", part) for number, (_, part) in enumerate(named, 1) if len(part) > 1
            ]
    if not has_doubles:
        return [Stack(uid, group)]
    raise UserError(
        f"the DICOM series in '{called(folder)}' has several slices at the same place, and nothing in their "
        "headers tells them apart; leave one image per place in the folder"
    )


def _in_order(group):
    return sorted(group, key=lambda one: float(one.position @ group[0].normal))


def _are_interleaved(parts):
    """Do parts of a series, of several slices each, cover the same length? Those of one scan follow each other."""
    if min(map(len, parts)) < 3:
        return False
    normal = parts[0][0].normal
    ends = sorted((float(part[0].position @ normal), float(part[-1].position @ normal)) for part in parts)
    return any(
        min(top, next_top) - next_bottom > WHOLE_SHARE * min(top - bottom, next_top - next_bottom)
        for (bottom, top), (next_bottom, next_top) in itertools.pairwise(ends)
    )


def _has_doubles(group):
    heights = [float(one.position @ group[0].normal) for one in group]
    return bool(len(heights) > 1 and np.diff(heights).min() < SAME_PLACE_MM)


def _without_copies(group, folder, aside):
    """The group without images that are in it twice: the same place, and the same pixels."""
    by_place, kept, copies = {}, [], 0
    for one in group:
        others = by_place.setdefault(tuple(np.round(one.position, 2)), [])
        if any(_same_pixels(one, other, folder) for other in others):
            copies += 1
            continue
        others.append(one)
        kept.append(one)
    if copies:
        aside.append(f"{copies} copies of slices")
    return kept


def _same_pixels(one, other, folder):
    import pydicom

    if one.path == other.path:
        return False
    try:
        first, second = (pydicom.dcmread(s.path, force=True) for s in (one, other))
        same = first.PixelData == second.PixelData
        rescale = [(s.get("RescaleSlope"), s.get("RescaleIntercept")) for s in (one, other)]
    except Exception as error:
        raise _unreadable(one.path, error) from error
    same = same and rescale[0] == rescale[1]
    if not same and one.header.SOPInstanceUID == other.header.SOPInstanceUID:
        raise UserError(
            f"'{called(one.path)}' and '{called(other.path)}' call themselves the same image and differ; "
            "fetch the series again"
        )
    return same


def choose(stacks, folder, aside, series=None) -> Stack:
    """The one stack to read. Raises `UserError` with the list where several are left."""
    if series is not None:
        named = [stack for stack in stacks if stack.name == series or stack.name.partition(":")[0] == series]
        if not named:
            raise UserError(f"'{called(folder)}' has no series '{series}'; it has {_listed(stacks)}")
        aside += [f"{len(stack.slices)} images of {stack.name}" for stack in stacks if stack not in named]
    else:
        named = stacks
    left = list(named)
    rules = (
        (
            "parts of the body's length",
            lambda s, all_: s.extent_mm >= WHOLE_SHARE * max(a.extent_mm for a in all_),
        ),
        ("other planes", lambda s, all_: s.is_axial),
        ("derived images", lambda s, all_: s.is_original),
        ("thick slices", lambda s, all_: s.thickness_mm <= THICK_MM),
    )
    # Axial first: a coronal reformat may well be longer than the scan.
    for what, rule in (rules[1], rules[0], *rules[2:]):
        kept = [stack for stack in left if rule(stack, left)]
        if kept and len(kept) < len(left):
            gone = [stack for stack in left if stack not in kept]
            aside += [f"{len(stack.slices)} images of {stack.name} ({what})" for stack in gone]
            left = kept
    if len(left) > 1:
        raise UserError(
            f"'{called(folder)}' holds {len(left)} scans that the headers leave to choose from: {_listed(left)}; "
            "choose one with --series"
        )
    return left[0]


def _listed(stacks):
    more = f" and {len(stacks) - 8} more" if len(stacks) > 8 else ""
    return "; ".join(str(stack) for stack in stacks[:8]) + more


def _fitted_step(stack, folder):
    """(mm from slice to slice, place of the first), fitted to all positions. Raises `UserError` for a bad fit.

    What a scanner rounded lies close to the fitted line; a missing slice or a change of spacing does not.
    """
    slices = stack.slices
    if len(slices) < 2:
        raise UserError(
            f"the folder '{called(folder)}' holds a single image; a CT scan is a series of slices"
        )
    if slices[0].pixel_mm is None or not all(0.01 <= mm <= 100 for mm in slices[0].pixel_mm):
        raise UserError(
            f"the DICOM series in '{called(folder)}' lacks PixelSpacing (or has one of zero), so nobody knows how "
            "large a pixel is; fetch the series again, before it was anonymized"
        )
    heights, places = stack.heights, np.array([one.position for one in slices])
    steps = np.diff(heights)
    step = np.median(steps)
    if steps.min() < SAME_PLACE_MM:
        raise UserError(
            f"the DICOM series in '{called(folder)}' has several slices at the same place; "
            "leave one image per place in the folder"
        )
    uneven = np.abs(steps - step).argmax()
    if not 0.5 * step < steps[uneven] < 1.5 * step:
        raise UserError(
            f"the DICOM series in '{called(folder)}' has slices {step:.2f} mm apart but {steps[uneven]:.2f} mm "
            f"after height {heights[uneven]:.1f} mm; some are missing or damaged: fetch it again"
        )
    numbers = np.arange(len(slices), dtype=float)
    (slope, start), *_ = np.linalg.lstsq(np.column_stack([numbers, np.ones(len(slices))]), places, rcond=None)
    off = places - (start + numbers[:, None] * slope)
    along = np.abs(off @ slices[0].normal).max()
    across = np.linalg.norm(off - np.outer(off @ slices[0].normal, slices[0].normal), axis=1).max()
    if along > MOST_OFF_STEPS * step or across > 0.5 * min(slices[0].pixel_mm):
        raise UserError(
            f"the DICOM series in '{called(folder)}' has slices up to {max(along, across):.2f} mm away from an even "
            f"spacing of {np.linalg.norm(slope):.2f} mm; resample it to even slices first"
        )
    tilt = np.degrees(np.arccos(min(abs(slope @ slices[0].normal) / np.linalg.norm(slope), 1.0)))
    if tilt > MOST_TILTED_DEGREES:
        raise UserError(
            f"the DICOM series in '{called(folder)}' was taken with the gantry tilted by {tilt:.0f} degrees; "
            "resample it to upright slices first"
        )
    return slope, start
