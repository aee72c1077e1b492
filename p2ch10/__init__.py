"""Chapter 10: one door to every scan.

Introduces reading scans of any format (scans), the compressed scan store (store), the LUNA lists, patient
coordinates, `Ct` and `LunaDataset` (dsets), pictures (vis), and a benchmark. Takes the dataset `luna`
from chapter 9 and what it shares with all chapters from `util`.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
