"""Chapter 14: from a scan to a list of nodules, and how good that list is.

Introduces the way from a scan to findings (pipeline; grouping, findings, second_classifier) and its command with
the book's `NoduleAnalysisApp` (nodule_analysis), what limits the findings (limits), the report, nodules as a DICOM
Segmentation (dicom_seg), `match_and_score` by LUNA16's rule (hits, scoring)
and LUNA16's evaluation (froc, lists), the malignancy of nodules (dsets, resampling, training, malignancy, size),
what weights files say of themselves (weights), and the main job that `course.py run` starts. How the shipped
networks were made is in `shipped`; how a whole archive is analysed, in archive and screencts. Takes scans from
chapter 10, the classifier and the training loop from chapter 11, metrics and augmentation from chapter 12, the
segmentation from chapter 13.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
