"""Chapter 6: a small neural network fitted to the thermometer, and what became of its weights.

Introduces the network (network) and the gallery of activation functions (activations). Takes the
readings, the line and the loss from chapter 5.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
