"""What two or more unrelated chapters share, and nothing else.

paths      where data and output live            datasets   one door to every dataset
files      writes that survive a crash           progress   loops that say how long they will take
runtime    device and random seeds               plotting   the course's look for figures
exercises  check("3.2", my_function)

`util` imports no chapter.
"""
