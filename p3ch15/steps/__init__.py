"""The server of chapter 15 in four steps, each a small program: hello_world, one_model, request_batching,
traced_model. What comes out in the end is `p3ch15.server`.
"""
