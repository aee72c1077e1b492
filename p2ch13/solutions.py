"""Solutions to chapter 13's exercises."""

import numpy as np
from scipy import ndimage


def dice(a, b):
    total = a.sum() + b.sum()
    return 2 * (a & b).sum() / total if total else 1.0


def with_context(hu, index, context):
    return hu[np.clip(np.arange(index - context, index + context + 1), 0, len(hu) - 1)]


def receptive_field(depth):
    field, apart = 1, 1
    for level in range(depth):
        field += 2 * 2 * apart  # two convolutions of 3×3
        if level < depth - 1:
            field += apart  # average pooling over 2×2
            apart *= 2
    for _ in range(depth - 1):  # on the way up, pixels come closer together again
        apart //= 2
        field += 2 * 2 * apart
    return field


def box(hu, center, threshold_hu=-700):
    slices = []
    for axis, (middle, size) in enumerate(zip(center, hu.shape)):
        index = list(center)
        radius = 0
        while middle - radius - 1 >= 0 and middle + radius + 1 < size:
            ends = []
            for place in (middle - radius - 1, middle + radius + 1):
                index[axis] = place
                ends.append(hu[tuple(index)] > threshold_hu)
            if not all(ends):
                break
            radius += 1
        slices.append(slice(middle - radius, middle + radius + 1))
    return tuple(slices)


def loss(prediction, label, weight):
    def dice_loss(one):
        return 1 - (2 * (one * label).sum() + 1) / (one.sum() + label.sum() + 1)

    return dice_loss(prediction) + weight * dice_loss(prediction * label)


def lungs(hu):
    labels, count = ndimage.label(hu < -500)
    edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[edge] = 0
    sizes[0] = 0
    chosen = [number for number in np.argsort(sizes)[-2:] if sizes[number]]
    return ndimage.binary_fill_holes(np.isin(labels, chosen))


SOLUTIONS = {
    "13.1": dice,
    "13.2": with_context,
    "13.3": receptive_field,
    "13.4": box,
    "13.5": loss,
    "13.6": lungs,
}
