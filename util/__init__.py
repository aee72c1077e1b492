"""What two or more unrelated chapters share, and nothing else.

paths      where data and output live            datasets   one door to every dataset
errors     UserError, the commands' guard        files      writes that survive a crash
runtime    device and random seeds               plotting   the course's look for figures
exercises  check("3.2", my_function)             claims     sentences of a notebook, held against its numbers

Four modules are there because the book has them: `util` (patient coordinates, progress), `unet`,
`augmentation` (of NumPy pictures) and `disk` (which says what to use instead).

`util` imports no chapter.
"""
