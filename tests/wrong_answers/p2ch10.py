"""Typical wrong answers to chapter 10's exercises."""

import numpy as np

WRONG = {
    "10.1": [
        lambda diameter, size: tuple(diameter / s for s in size),
        lambda diameter, size: tuple(diameter * s for s in size[::-1]),
        lambda diameter, size: (diameter / size[2], diameter / size[0], diameter / size[0]),
    ],
    "10.2": [
        lambda center, width, size: center - width // 2,
        lambda center, width, size: max(center - width // 2, 0),
        lambda center, width, size: min(center - width // 2, size - width),
    ],
    "10.3": [
        # The first edition's order: the inverse on the wrong side.
        lambda xyz, origin, size, direction: tuple(
            np.round((np.subtract(xyz, origin) @ np.linalg.inv(direction) / size)[::-1]).astype(int)
        ),
        lambda xyz, origin, size, direction: tuple(
            np.round((np.subtract(xyz, origin) / size)[::-1]).astype(int)
        ),
        lambda xyz, origin, size, direction: tuple(
            np.round(np.linalg.inv(direction) @ np.subtract(xyz, origin) / size).astype(int)
        ),
    ],
    "10.4": [
        lambda place, annotations: next(
            (n for n, (c, d) in enumerate(annotations) if np.linalg.norm(np.subtract(place, c)) < d / 4), None
        ),
        lambda place, annotations: next(
            (n for n, (c, d) in enumerate(annotations) if max(np.abs(np.subtract(place, c))) < d / 4), None
        ),
        lambda place, annotations: (
            int(np.argmin([np.linalg.norm(np.subtract(place, c)) for c, _ in annotations]))
            if annotations
            else None
        ),
    ],
    "10.5": [
        lambda train, val: set(train) & set(val),
        lambda train, val: {i.series_uid for i in train} | {i.series_uid for i in val},
        lambda train, val: set(),
    ],
    "10.6": [
        lambda uids, share: set(uids[:: round(1 / share)]),
        lambda uids, share: set(sorted(uids)[: int(len(uids) * share)]),
        lambda uids, share: set(np.random.default_rng().choice(uids, int(len(uids) * share), replace=False)),
    ],
}
