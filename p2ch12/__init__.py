"""Chapter 12: metrics that see rare nodules, balanced sampling, and augmentation.

Introduces precision, recall and F1 in `logMetrics` (metrics), a dataset with `ratio_int` and
`augmentation_dict` (dsets), `--balanced`/`--augmented` (training), random affine transforms on the device
(augment). Takes the model and the training loop from chapter 11.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
