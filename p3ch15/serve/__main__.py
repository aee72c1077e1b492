"""Starts the classifier under a serving engine (chapter 15, section 15.6).

python -m p3ch15.serve ray --port 8000
python -m p3ch15.serve bento --port 8000
python -m p3ch15.serve lit --port 8000
"""

import argparse
import importlib.util
import os
import subprocess
import sys

from util.errors import UserError, main_guard
from util.paths import PROJECT


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m p3ch15.serve", description=__doc__.splitlines()[0])
    parser.add_argument("engine", choices=("ray", "bento", "lit"))
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args(arguments)
    package = {"ray": "ray", "bento": "bentoml", "lit": "litserve"}[options.engine]
    if importlib.util.find_spec(package) is None:
        raise UserError(f"{package} is not installed; see p3ch15/serve/requirements.txt")
    # No engine should report to its makers from a lesson.
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", BENTOML_DO_NOT_TRACK="True")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    if options.engine == "bento":
        command = ["-m", "bentoml", "serve", "p3ch15.serve.bento_app:Nodules", "--port", str(options.port)]
        return subprocess.run([sys.executable, *command], cwd=PROJECT).returncode
    if options.engine == "lit":
        from p3ch15.serve import lit_app

        lit_app.serve(options.port)
        return 0
    import ray
    from ray import serve

    from p3ch15.serve.ray_app import app

    ray.init(include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})
    serve.run(app, route_prefix="/predict", blocking=True)
    return 0


if __name__ == "__main__":
    main_guard(main)
