"""Chapter 6: a small neural network fitted to the thermometer, and honestly compared with a line.

Introduces the network and the comparison that holds out each reading in turn (network). Takes the
readings, the line and the loss from chapter 5.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
