"""What you have passed, tried and left open: `python course.py progress`, or `… progress 3` for a chapter."""

import argparse

from util.errors import main_guard
from util.exercises import progress


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="course.py progress", description=__doc__)
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="3 or p1ch3; without, all in short")
    progress(*parser.parse_args(arguments).chapters)


if __name__ == "__main__":
    main_guard(main)
