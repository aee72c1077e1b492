"""The classifier in onnxruntime, inside the program that asks: no server, no network, no PyTorch.

    python p3ch15/serve/onnx_app.py MODEL.onnx CLIENTS SECONDS

So many threads ask for one crop after the other; prints their times (s) and the memory taken (bytes) as JSON. Run
as a file, not as a module: the course's package would load PyTorch, and the memory would be PyTorch's.
"""

import json
import sys
import threading
import time

import numpy as np
import onnxruntime
import psutil

WARM_UP_S = 1.0


def ask_until(end, session, crop, times):
    """Ask for `crop` until the clock shows `end`; notes (when answered, seconds) in `times`."""
    while time.perf_counter() < end:
        started = time.perf_counter()
        session.run(None, {"crops": crop})
        ended = time.perf_counter()
        times.append((ended, ended - started))


def main(model, clients, seconds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if clients > 1 else 2  # with several clients, a core for each
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    crop = np.random.default_rng(15).integers(-1000, 400, (1, 1, 32, 48, 48)).astype(np.float32)
    began, times = time.perf_counter() + WARM_UP_S, []
    end = began + seconds
    team = [
        threading.Thread(target=ask_until, args=(end, session, crop, times), daemon=True)
        for _ in range(clients)
    ]
    for client in team:
        client.start()
    for client in team:
        client.join()
    memory = psutil.Process().memory_full_info()
    counted = [(when, took) for when, took in times if began <= when <= end]
    thirds = np.histogram([when for when, _ in counted], 3, (began, end))[0] / (seconds / 3)
    told = {"seconds": [took for _, took in counted], "low": thirds.min(), "high": thirds.max()}
    print(json.dumps(told | {"bytes": getattr(memory, "pss", memory.rss)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
