"""Chapter 14: from a scan to a list of nodules, and how good that list is.

Introduces `NoduleAnalysisApp` (nodule_analysis), how marked voxels become candidates (grouping), the
report, `match_and_score` (scoring), LUNA16's evaluation (froc), the malignancy of nodules (dsets,
training, malignancy), refined training data and a second classifier (refined, mining, close_look,
second_look), and the main job that `course.py run` starts. Takes scans from chapter 10, the
classifier and the training loop from chapter 11, metrics and augmentation from chapter 12, the
segmentation from chapter 13.
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
