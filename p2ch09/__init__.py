"""Chapter 9: what a CT scan is, the five-step plan, and the data that part 2 works on.

Introduces the generated patients (`p2ch09.phantom`) and `luna`, the dataset of every later chapter:
the real LUNA16 where a copy is found, generated patients in the same format otherwise; where a scan
lies in the patient (geometry), and nodules alone, to look at (specimens).
Takes from earlier chapters: nothing but `util`.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
from p2ch09.source import Luna16

luna = Luna16()
