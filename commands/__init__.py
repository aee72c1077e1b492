"""What `course.py` runs for the reader: doctor, data and notebooks. No chapter imports from here."""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
