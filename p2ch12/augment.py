"""Augmentation on the device: one random affine transform per sample, applied to the batch at once.

Chapter 12, "Specific data augmentation techniques". Works for volumes (N, C, D, H, W) and for
slices (N, C, H, W); chapter 13 uses the latter. A crop that is turned or shifted needs voxels from beyond its
own edges: `Strengths.patch` says how large a patch to read, and `augment` cuts the crop out of its middle.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch.nn import functional as F

HU_RANGE = (-1000.0, 1000.0)  # as chapter 10 clips scans
# Noise is smoothed by these weights along rows and columns: neighbours then correlate by a third, about as in scans.
_SMOOTHING = (0.125, 0.75, 0.125)


@dataclass(frozen=True)
class Strengths:
    """How far each transform may go; 0 or False switches it off.

    flip: mirror along each axis with probability 1/2. offset: shift by up to this share of half the
    edge. scale: zoom by up to this share. rotate: any angle in the plane of the slice. noise: standard
    deviation of added noise, HU; like a scanner's, it is alike in neighbouring pixels of a slice.
    """

    flip: bool = False
    offset: float = 0.0
    scale: float = 0.0
    rotate: bool = False
    noise: float = 0.0

    @property
    def moves(self) -> bool:
        """Does anything change places, other than by noise?"""
        return bool(self.flip or self.offset or self.scale or self.rotate)

    def patch(self, size) -> tuple[int, ...]:
        """The edges of the patch around a crop of `size` ([D,] H, W) that holds every voxel its variants can need.

        It is larger by an even number of voxels along each axis, so that the crop lies in its middle.
        """
        half = [edge / 2 for edge in size]
        reach = half[:-2] + [math.hypot(*half[-2:])] * 2 if self.rotate else half
        wanted = [(1 + self.scale) * r + self.offset * h for r, h in zip(reach, half)]
        # Less a hair: rounding must not ask for one voxel more.
        return tuple(edge + 2 * math.ceil(w - h - 1e-9) for edge, w, h in zip(size, wanted, half))


ALL = Strengths(flip=True, offset=0.1, scale=0.2, rotate=True, noise=25.0)


def add_augmentation_arguments(parser):
    """The book's options: `--augmented` for every transform, `--augment-flip` and so on for one."""
    parser.add_argument("--augmented", action="store_true", help="every augmentation")
    for field in fields(Strengths):
        parser.add_argument(
            f"--augment-{field.name}", action="store_true", help=f"only this one: {field.name}"
        )


def chosen_strengths(options, full: Strengths) -> Strengths:
    """The strengths in `full` of those transforms that the options ask for; the others are off."""
    asked = {
        field.name: getattr(full, field.name)
        for field in fields(Strengths)
        if options.augmented or getattr(options, f"augment_{field.name}")
    }
    return Strengths(**asked)


def random_affine(count, dims, strengths: Strengths, device=None, generator=None):
    """`count` random transforms, (count, dims, dims + 1), in `affine_grid`'s normalised coordinates.

    Axes are in grid order (x, y[, z]). Rows map output to input coordinates.
    """

    def uniform(*shape):
        return torch.rand(*shape, generator=generator, device=device) * 2 - 1

    linear = torch.eye(dims, device=device).repeat(count, 1, 1)  # (N, dims, dims)
    if strengths.flip:
        sign = torch.where(uniform(count, dims) < 0, -1.0, 1.0)
        linear = linear * sign[:, None, :]
    if strengths.scale:
        linear = linear * (1 + strengths.scale * uniform(count, dims))[:, None, :]
    if strengths.rotate:
        angle = math.pi * uniform(count)
        cos, sin = torch.cos(angle), torch.sin(angle)
        rotation = torch.eye(dims, device=device).repeat(count, 1, 1)
        # Only within the slice (x, y): slices are thicker than pixels are wide.
        rotation[:, 0, 0], rotation[:, 0, 1] = cos, -sin
        rotation[:, 1, 0], rotation[:, 1, 1] = sin, cos
        linear = rotation @ linear
    shift = (
        strengths.offset * uniform(count, dims)
        if strengths.offset
        else torch.zeros(count, dims, device=device)
    )
    return torch.cat([linear, shift[:, :, None]], dim=2)  # (N, dims, dims + 1)


def transform(batch, affine, mode="bilinear", size=None):
    """Resample `batch` (N, C, [D,] H, W) by `affine` (N, dims, dims + 1); outside repeats the border.

    size: edges of the result, ([D,] H, W); by default the batch's.
    """
    affine = affine.to(batch.dtype)
    size = tuple(size or batch.shape[2:])
    if batch.dim() == 5 and mode == "bilinear" and batch.device.type == "cpu" and _keeps_slices_flat(affine):
        return _transform_slices(batch, affine, size)
    grid = F.affine_grid(affine, [*batch.shape[:2], *size], align_corners=False)
    return F.grid_sample(batch, grid, mode=mode, padding_mode="border", align_corners=False)


def _keeps_slices_flat(affine) -> bool:
    """True where a slice's new place depends on its old one alone, as in all that `random_affine` draws."""
    return not (affine[:, 2, :2].any() or affine[:, :2, 2].any())


def _transform_slices(batch, affine, size):
    """`transform` of volumes whose slices stay flat: first between slices, then within them.

    Linear interpolation in three dimensions is linear interpolation along z of the one within slices, so
    the result is the same. On a CPU it takes an eighth of the time, because the places within a slice are
    worked out once instead of for each slice.
    """
    count, channels, depth, height, width = batch.shape
    # affine_grid's convention: -1 and 1 are the outer edges of the first and the last voxel.
    centers = (2 * torch.arange(size[0], dtype=batch.dtype) + 1) / size[0] - 1  # (new D,)
    wanted = affine[:, 2, 2:3] * centers + affine[:, 2, 3:4]  # (N, new D)
    place = (((wanted + 1) * depth - 1) / 2).clamp(0, depth - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=depth - 1)
    share = (place - below)[:, :, None]
    mix = torch.zeros(count, size[0], depth, dtype=batch.dtype)  # (N, new slice, old slice)
    mix.scatter_add_(2, below[:, :, None], 1 - share)
    mix.scatter_add_(2, above[:, :, None], share)
    slices = torch.einsum("ned,ncdp->ncep", mix, batch.flatten(3))  # (N, C, new D, H·W)
    slices = slices.reshape(count, channels * size[0], height, width)
    shape = [count, channels * size[0], *size[1:]]
    grid = F.affine_grid(affine[:, :2][:, :, [0, 1, 3]], shape, align_corners=False)
    moved = F.grid_sample(slices, grid, padding_mode="border", align_corners=False)
    return moved.view(count, channels, *size)


def scanner_noise(like, deviation, generator=None):
    """Noise of standard deviation `deviation`, shaped as `like` (N, C, [D,] H, W), smooth within slices.

    White noise would be finer than any scanner's, whose reconstruction makes neighbours alike.
    """
    *outer, height, width = like.shape
    noise = torch.randn(
        *outer, height + 2, width + 2, generator=generator, device=like.device, dtype=like.dtype
    )
    for axis, size in ((-2, height), (-1, width)):
        parts = [share * noise.narrow(axis, start, size) for start, share in enumerate(_SMOOTHING)]
        noise = sum(parts) / sum(share**2 for share in _SMOOTHING) ** 0.5
    return noise * deviation


def augment(batch, strengths: Strengths, generator=None, size=None):
    """A random variant of each sample of `batch` (N, C, [D,] H, W) in HU; same dtype and device.

    size: edges of the variants, ([D,] H, W), cut out of the middle of the batch's larger patches; with edges
    of `strengths.patch(size)` no variant shows anything but voxels of its patch. By default the batch's own
    edges: then what lies beyond repeats the border. Noise is clipped to HU_RANGE. With all strengths at zero and
    no `size` the batch comes back unchanged, to the bit.
    """
    size = tuple(size or batch.shape[2:])
    if strengths.moves:
        affine = random_affine(len(batch), batch.dim() - 2, strengths, batch.device, generator)
        # From the crop's edges at -1 and 1 to the patch's, in the grid's order (x, y[, z]).
        shares = [part / whole for part, whole in zip(size[::-1], tuple(batch.shape[2:])[::-1])]
        affine = affine * affine.new_tensor(shares)[:, None]
        batch = transform(batch, affine, size=size)
    elif size != tuple(batch.shape[2:]):
        batch = batch[(..., *(slice((w - s) // 2, (w + s) // 2) for w, s in zip(batch.shape[2:], size)))]
    if strengths.noise:
        batch = (batch + scanner_noise(batch, strengths.noise, generator)).clamp(*HU_RANGE)
    return batch
