"""How the learning rate goes over a training (chapter 11 offers it; chapters 12 to 14 use it)."""

import math


def one_cycle(progress: float) -> float:
    """The share of the full learning rate at `progress`, the part of the whole training that is done, 0 to 1.

    It rises over the first fifth, then falls to almost nothing. A short training gains most: large steps while
    there is far to go, small ones at the end (Smith and Topin 2018).
    """
    rise = 0.1 + 0.9 * min(progress / 0.2, 1)
    fall = 0.5 + 0.5 * math.cos(math.pi * max(progress - 0.2, 0) / 0.8)
    return rise * max(fall, 0.01)
