"""Chapter 11 changes nothing about chapter 10's dataset; the book's names can be had from here, too."""

from p2ch10.dsets import CandidateInfoTuple as CandidateInfoTuple
from p2ch10.dsets import Ct as Ct
from p2ch10.dsets import LunaDataset as LunaDataset
from p2ch10.dsets import getCandidateInfoDict as getCandidateInfoDict
from p2ch10.dsets import getCandidateInfoList as getCandidateInfoList
from p2ch10.dsets import getCt as getCt
from p2ch10.dsets import getCtRawCandidate as getCtRawCandidate
