"""Chapter 15: the trained networks in use.

Introduces servers from the smallest to one with request batching, jobs and a page (steps, batching,
server), their benchmark, every export (exports, native, tracing, the programs in cpp/), networks on
phones (mobile), smaller networks compared (efficiency), and other serving engines (serve). Takes
networks and weights from chapters 2, 11, 13 and 14.
"""
