"""Chapter 12 draws candidates as chapter 10 does; the book's names can be had from here, too."""

from p2ch10 import vis
from p2ch10.vis import showCandidate as showCandidate


def findPositiveSamples(start_ndx=0, limit=10):
    """Chapter 10's, which stops after ten, as in the book."""
    return vis.findPositiveSamples(start_ndx, limit)
