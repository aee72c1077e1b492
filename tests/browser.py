"""A browser to look at pages with: Chromium without a screen, and axe-core for what a screen reader needs."""

import base64
import json
import os
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
import websocket

needs_axe = pytest.mark.skipif(
    not os.environ.get("COURSE_AXE"),
    reason="COURSE_AXE names no axe.min.js (npm pack axe-core), which judges pages as a screen reader needs them",
)


def until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.002)


class Browser:
    """A headless Chromium, driven by its DevTools protocol."""

    def __init__(self, program, folder):
        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--remote-debugging-port=0", "--remote-allow-origins=*", "--no-first-run",
             f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        told = folder / "DevToolsActivePort"
        until(lambda: told.exists() and told.read_text().count("\n"), 60)
        port = told.read_text().splitlines()[0]
        tabs = json.load(urlopen(f"http://127.0.0.1:{port}/json", timeout=20))
        tab = next(tab for tab in tabs if tab["type"] == "page")
        self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"], timeout=60)
        self.sent, self.complaints = 0, []
        for domain in ("Page", "Runtime", "DOM", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": parameters}))
        while True:
            told = json.loads(self.socket.recv())
            if told.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(told["params"])
            if told.get("id") == self.sent:
                assert "error" not in told, told
                return told["result"]

    def value(self, expression):
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def screenshot(self, path):
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(picture))

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(20)

    def resize(self, width):
        phone = width < 500
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=phone
        )

    def open(self, url, ready="true"):
        """Go to `url`, by way of an empty page, and wait until it is there and the expression `ready` holds."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        until(lambda: self.value(f"document.readyState === 'complete' && !!({ready})"), 20)

    def serious(self):
        """What axe-core finds serious on the page as it is now; https://github.com/dequelabs/axe-core."""
        self.value(Path(os.environ["COURSE_AXE"]).read_text(encoding="utf-8") + "; true")
        found = self.value("axe.run().then((told) => JSON.stringify(told.violations))")
        return [
            (one["id"], [node["html"][:200] for node in one["nodes"]])
            for one in json.loads(found)
            if one["impact"] in ("serious", "critical")
        ]
