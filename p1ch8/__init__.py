"""Chapter 8: convolutions, and what else makes a network for images generalize.

Introduces the convolutional networks (model), a training loop that keeps all images on the device as one
tensor (fast), the comparison of the designs (designs) and the race between the two loops (benchmark).
Takes from earlier chapters: the birds and airplanes, the training loop and the fully connected network of
chapter 7.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
