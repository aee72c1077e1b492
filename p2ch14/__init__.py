"""Chapter 14: from a scan to a list of nodules, and how good that list is.

Introduces `NoduleAnalysisApp` (nodule_analysis), the report, `match_and_score` (scoring) and the main
job that `course.py run` starts. Takes scans from chapter 10, the classifier from chapter 11, the
segmentation from chapter 13.
"""
