"""The book's augmentation of pictures held in NumPy arrays; chapters 12 and 13 augment tensors instead.

A picture is an array (rows, columns, channels). Each function takes a list of pictures that belong
together (an image and its mask, say) and treats all of them alike; it answers a new list and leaves the
old one as it is. Chance comes from Python's `random` and from `numpy.random`, which
`util.runtime.seed_everything` seeds. Pixels keep their values (nearest neighbour), so that masks stay masks.
"""

import random

import numpy as np
from scipy import ndimage


def cropToShape(image, new_shape, center_list=None, fill=0.0):
    """`image` cut or padded to `new_shape`; where it is padded, `image` lies in the middle.

    center_list: per axis the place that becomes the middle of the cut; None, or a None in it, is the
    middle of `image`. A cut near an edge is shifted inside.
    """
    centers = center_list or [None] * len(new_shape)
    cut, place = [], []
    for size, wanted, center in zip(image.shape, new_shape, centers):
        center = size // 2 if center is None else center
        start = min(max(center - wanted // 2, 0), max(size - wanted, 0))
        cut.append(slice(start, start + wanted))
        before = max(wanted - size, 0) // 2
        place.append(slice(before, before + min(size, wanted)))
    new_image = np.full(new_shape, fill, dtype=image.dtype)
    new_image[tuple(place)] = image[tuple(cut)]
    return new_image


def zoomToShape(image, new_shape, square=True):
    """`image` scaled to `new_shape`. square: the middle square is taken first, so that nothing is distorted."""
    if square:
        edge = min(image.shape[:2])
        image = cropToShape(image, (edge, edge, *image.shape[2:]))
    factors = [wanted / size for wanted, size in zip(new_shape, image.shape)]
    return ndimage.zoom(image, factors, order=0, mode="nearest", grid_mode=True)


def randomOffset(image_list, offset_rows=0.125, offset_cols=0.125):
    """Shifted by up to these shares of the height and the width; what comes in repeats the edge."""
    rows, cols = image_list[0].shape[:2]
    shift = (
        round(rows * random.uniform(-offset_rows, offset_rows)),
        round(cols * random.uniform(-offset_cols, offset_cols)),
    )
    return [
        ndimage.shift(image, (*shift, *[0] * (image.ndim - 2)), order=0, mode="nearest")
        for image in image_list
    ]


def randomZoom(image_list, scale=None, scale_min=0.8, scale_max=1.3):
    """Zoomed about the middle by `scale`, or by chance between the two; the shape stays, gaps are 0."""
    if scale is None:
        scale = random.uniform(scale_min, scale_max)
    return [
        cropToShape(
            ndimage.zoom(
                image, (scale, scale, *[1] * (image.ndim - 2)), order=0, mode="nearest", grid_mode=True
            ),
            image.shape,
        )
        for image in image_list
    ]


def randomFlip(image_list, transform_bits=None):
    """Mirrored. transform_bits: 1 swaps left and right, 2 top and bottom, 3 both; by chance if None."""
    if transform_bits is None:
        transform_bits = random.randrange(4)
    axes = [axis for bit, axis in ((1, 1), (2, 0)) if transform_bits & bit]
    return [np.flip(image, axes).copy() for image in image_list]


def randomSpin(image_list, angle=None, range_tup=None, axes=(0, 1)):
    """Turned by `angle` degrees, or by chance within `range_tup` (0 to 360), in the plane of `axes`."""
    if angle is None:
        angle = random.uniform(*(range_tup or (0, 360)))
    return [
        ndimage.rotate(image, angle, axes=axes, reshape=False, order=0, mode="nearest")
        for image in image_list
    ]


def randomNoise(image_list, noise_min=-0.1, noise_max=0.1):
    """The same noise, uniform between the two, added to every picture; values keep their type."""
    noise = np.random.uniform(noise_min, noise_max, image_list[0].shape)
    return [(image + noise).astype(image.dtype) for image in image_list]


def randomHsvShift(
    image_list, h=None, s=None, v=None, h_min=-0.1, h_max=0.1, s_min=0.5, s_max=2.0, v_min=0.5, v_max=2.0
):
    """Pictures in HSV (0 to 1, as `matplotlib.colors.rgb_to_hsv` gives): hue + h, saturation**s, value**v.

    What is None comes by chance between its bounds.
    """
    h = random.uniform(h_min, h_max) if h is None else h
    s = random.uniform(s_min, s_max) if s is None else s
    v = random.uniform(v_min, v_max) if v is None else v
    shifted = [
        np.stack([image[..., 0] + h, image[..., 1] ** s, image[..., 2] ** v], axis=-1).astype(image.dtype)
        for image in image_list
    ]
    return clampHsv(shifted)


def clampHsv(image_list):
    """Pictures in HSV with the hue wrapped around into [0, 1), saturation and value cut to [0, 1]."""
    return [
        np.concatenate([image[..., :1] % 1, np.clip(image[..., 1:], 0, 1)], axis=-1) for image in image_list
    ]
