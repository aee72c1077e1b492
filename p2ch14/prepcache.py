"""Chapter 14 stores scans as chapter 11 does; the book's names can be had from here, too."""

from p2ch11.prepcache import LunaPrepCacheApp
from util.errors import main_guard

if __name__ == "__main__":
    main_guard(lambda: LunaPrepCacheApp().main() and None)
