"""How the networks in data/p2ch14 were made: targets, examples and trainings beyond what the chapters teach.

`python -m p2ch14.shipped` makes and measures them. Of this, `course.py run` takes the second classifier's training.
"""
