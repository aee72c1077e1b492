"""Chapter 15: the trained networks in use.

Introduces servers step by step (flask_hello_world, flask_server with cls_client, request_batching_server,
request_batching_jit_server) and the one with batching, jobs and a page (server), their benchmark, every export
(formats, export, native, tracing, the programs in cpp/), torch.compile measured (compiled), networks on phones
(mobile), smaller networks compared (efficiency, evaluation), and other serving engines (serve). Takes networks
and weights from chapters 2, 11, 13 and 14 (networks, cyclegan, classifier).
"""

import util as util  # first: it sets how PyTorch's threads wait, and PyTorch reads that when it is loaded
