"""Chapter 2: networks that others have trained: what to ask of them, and what they answer.

Introduces photographs as clean RGB images (images), an ImageNet network that comes with the packages (efficientnet) and
torchvision's (imagenet), stacks of layers with and without a sum (depth), drawn animals and scenes (drawing),
a classifier with named classes, a generator that paints stripes and a captioner (classifier, gan, captioner),
their training in one command (train), their figures (measure) and their shipped weights (pretrained).
Takes nothing from earlier chapters.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
