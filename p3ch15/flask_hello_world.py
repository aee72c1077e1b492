"""Step 1: a server that says hello (chapter 15, "Our model behind a Flask server").

python -m p3ch15.flask_hello_world --port 8000
curl http://127.0.0.1:8000/hello
"""

import argparse

import waitress
from flask import Flask

app = Flask(__name__)


@app.get("/hello")
def hello():
    """The whole application: a path, and what it answers."""
    return "Hello World!"


def serve(app, description, threads=4):
    """Serve `app` until it is interrupted; the port is an option of the command."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--port", type=int, default=8000)
    port = parser.parse_args().port
    print(f"serving on http://127.0.0.1:{port}", flush=True)
    # app.run() would do as well on your desk; waitress is made to face the world.
    waitress.serve(app, host="127.0.0.1", port=port, threads=threads)


if __name__ == "__main__":
    serve(app, __doc__.splitlines()[0])
