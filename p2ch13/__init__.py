"""Chapter 13: a second network, which marks suspicious pixels in whole slices.

Introduces the U-Net, `UNetWrapper` and `SegmentationAugmentation` (model), ground truth grown from
annotated centres and `Luna2dSegmentationDataset` (dsets), Dice loss (training). Takes scans from
chapter 10, the loop from chapter 11, random affine transforms from chapter 12.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
