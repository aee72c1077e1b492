"""Chapter 3: what a tensor is: a view of a storage, with a type, a place and strides.

Introduces drawings of any tensor's storage (storage) and the table of number types (dtypes).
Takes nothing from earlier chapters.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
