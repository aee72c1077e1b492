"""What two or more unrelated chapters share, and nothing else.

paths      where data and output live            datasets   one door to every dataset
errors     UserError, the commands' guard        files      writes that survive a crash
runtime    device and random seeds               progress   loops that say how long they will take
exercises  check("3.2", my_function)             plotting   the course's look for figures
claims     sentences of a notebook, held against its numbers

`util` imports no chapter.
"""
