"""Chapter 5: the mechanics of learning, on eleven readings of a thermometer.

Introduces the readings, the linear model with its loss and hand-made gradient, and the training loop by
hand (thermometer), and pictures of the loss (landscape). Takes nothing from earlier chapters.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
