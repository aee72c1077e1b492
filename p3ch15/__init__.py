"""Chapter 15: the trained networks in use.

Introduces servers from the smallest to one with request batching, jobs and a page (steps, server), their
benchmark, every export (formats, export, native, tracing, the programs in cpp/), networks on phones (mobile),
smaller networks compared (efficiency, evaluation), and other serving engines (serve). Takes networks and
weights from chapters 2, 11, 13 and 14 (networks, classifier).
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
