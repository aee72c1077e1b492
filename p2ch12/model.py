"""Chapter 12 trains chapter 11's network as it is; the book's names can be had from here, too."""

from p2ch11.model import LunaBlock as LunaBlock
from p2ch11.model import LunaModel as LunaModel
