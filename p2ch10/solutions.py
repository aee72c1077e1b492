"""One right answer to each of chapter 10's exercises."""

import numpy as np


def diameter_in_voxels(diameter_mm, vxSize_xyz):
    """How many voxels a nodule spans along (index, row, column)."""
    x, y, z = vxSize_xyz
    return diameter_mm / z, diameter_mm / y, diameter_mm / x


def voxel_of(center_xyz, origin_xyz, vxSize_xyz, direction_a):
    """Nearest (index, row, column) of a place in a scan of any orientation."""
    offset = np.asarray(center_xyz, float) - np.asarray(origin_xyz, float)
    column, row, index = np.linalg.inv(direction_a) @ offset / np.asarray(vxSize_xyz)
    return round(index), round(row), round(column)


def shared_scans(train, val):
    """Series UIDs that stand in both lists of candidates."""
    return {info.series_uid for info in train} & {info.series_uid for info in val}


def crop_start(center, width, size):
    """First voxel of a window that is shifted inside along one axis."""
    return min(max(center - width // 2, 0), size - width)


def same_nodule(candidate_xyz, annotations):
    """Index of the nearest annotation within a quarter of its diameter, or None."""
    best, nearest = None, np.inf
    for number, (center_xyz, diameter_mm) in enumerate(annotations):
        distance = float(np.linalg.norm(np.subtract(candidate_xyz, center_xyz)))
        if distance < diameter_mm / 4 and distance < nearest:
            best, nearest = number, distance
    return best


def split(series_uids, share):
    """Validation scans by a hash of their UID: stable, whatever else is there."""
    import hashlib

    def fraction(uid):
        return int(hashlib.sha256(uid.encode()).hexdigest()[:12], 16) / 16**12

    return {uid for uid in series_uids if fraction(uid) < share}


SOLUTIONS = {
    "10.1": diameter_in_voxels,
    "10.2": crop_start,
    "10.3": voxel_of,
    "10.4": same_nodule,
    "10.5": shared_scans,
    "10.6": split,
}
