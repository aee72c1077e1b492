"""The classifier under serving engines (chapter 15, "Enterprise serving"): Ray Serve and, beside it, BentoML.

Both need `p3ch15/serve/requirements.txt`. `python -m p3ch15.serve` starts either.
"""
