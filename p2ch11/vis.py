"""Chapter 11 draws candidates as chapter 10 does; the book's names can be had from here, too."""

from p2ch10.vis import findPositiveSamples as findPositiveSamples
from p2ch10.vis import showCandidate as showCandidate
