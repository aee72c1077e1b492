"""Chapter 1: what deep learning is, what PyTorch brings to it, and what this machine can do.

Introduces a first task, telling rings from discs (shapes), the frameworks' history (landscape) and
the drawings of the chapter (pictures). Takes nothing from other chapters.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
