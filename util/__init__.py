"""What two or more unrelated chapters share, and nothing else.

paths      where data and output live            datasets   one door to every dataset
errors     UserError, the commands' guard        files      writes that survive a crash
runtime    device and random seeds               plotting   the course's look for figures
processes  what a command starts ends with it
exercises  check("3.2", my_function)             claims     sentences of a notebook, held against its numbers

Four modules are there because the book has them: `util` (patient coordinates, progress), `unet`,
`augmentation` (of NumPy pictures) and `disk` (which says what to use instead).

`util` imports no chapter.
"""

import os

# OpenMP's threads wait for work by spinning, at first. Alone on a machine that is quickest; beside other busy
# programs they burn the time in which those would be done. So they go to sleep sooner (GNU's count of turns,
# LLVM's and Intel's milliseconds). The libraries read this once, when PyTorch is loaded; a choice that a
# reader has made stays. `course.py` says the same to its commands, and to every Python of its environment.
PATIENCE = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
if "OMP_WAIT_POLICY" not in os.environ:
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
# Apple's GPU lacks some operations on volumes; PyTorch may compute those on the CPU.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
