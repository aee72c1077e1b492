"""Chapter 13: a second network, which marks suspicious pixels in whole slices.

Introduces the U-Net in front of slices, `UNetWrapper`, and `SegmentationAugmentation` (model), ground truth
grown from annotated centres and `Luna2dSegmentationDataset` (dsets), Dice loss (training), where the lungs
are (lungs), and a whole scan (segment). Takes scans from chapter 10, the loop from chapter 11, random affine
transforms from chapter 12, the book's `UNet` from `util.unet`.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
