"""Chapter 14 draws candidates as chapter 13 does; the book's names can be had from here, too."""

from p2ch13.vis import findPositiveSamples as findPositiveSamples
from p2ch13.vis import showCandidate as showCandidate
