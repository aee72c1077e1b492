"""The classifier under serving engines (chapter 15, "Enterprise serving"): Ray Serve and, beside it, BentoML and
LitServe.

All need `p3ch15/serve/requirements.txt`. `python -m p3ch15.serve` starts each.
"""

WORKERS = 2  # processes that compute, each on one core: what the figures in data/p3ch15 were measured with
