"""Chapter 10: one door to every scan.

Introduces reading scans of any format (scans; reading, with metaimage, nifti, nrrd and the three of dicom_; checks,
orient), lists as spreadsheets write them (tables), the compressed scan store (store),
`Ct` and the crops of candidates (ct), the LUNA lists joined into one (candidates), what a process remembers
of them (memory), `LunaDataset` (dsets, which has all the book's names), pictures (vis), malignancy
from LIDC's readings (lidc), and a benchmark.
Takes the dataset `luna` and the scans' `Geometry` from chapter 9, and coordinates from `util`.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
