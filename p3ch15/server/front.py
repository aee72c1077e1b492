"""The web server around the application: what it may receive, and a gentle end."""

import select
import time

import waitress
import waitress.server
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import BadRequest, RequestEntityTooLarge, ServerNotImplemented

from p3ch15.server.app import MAX_JSON_BYTES, MAX_SCAN_BYTES, close_app
from util.errors import UserError


class _Parser(HTTPRequestParser):
    """waitress's parser, with three rules of ours.

    A request too broken to name a path has an empty one: waitress logs it when the client hangs up. Only a
    scan may be large: for all else a long body is refused before it is received. And a transfer encoding
    that does not exist is the client's fault (400), not the server's (501).
    """

    path = ""

    def received(self, data):
        consumed = super().received(data)
        if isinstance(self.error, ServerNotImplemented):
            self.error = BadRequest("this Transfer-Encoding is not known")
        is_large = max(self.content_length, self.body_bytes_received) > MAX_JSON_BYTES
        if is_large and self.error is None and self.path != "/scans":
            self.error = RequestEntityTooLarge(f"at most {MAX_JSON_BYTES} bytes")
            self.completed = True
        return consumed


class _Channel(HTTPChannel):
    parser_class = _Parser


class Server:
    """An application under waitress that ends gently: `run` returns after `stop`, when all is answered."""

    def __init__(self, app, host="127.0.0.1", port=8000, threads=4, drain_s=30.0):
        self.app, self.drain_s = app, drain_s
        self._stop_at = None
        try:
            self.waitress = waitress.create_server(
                app, host=host, port=port, threads=threads, ident=None, connection_limit=800, backlog=1024,
                max_request_body_size=MAX_SCAN_BYTES, channel_timeout=60, cleanup_interval=10,
                recv_bytes=2**18, inbuf_overflow=2**20, clear_untrusted_proxy_headers=True,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise UserError(f"cannot listen on {host}, port {port} ({error}); choose another") from error
        if not isinstance(self.waitress, waitress.server.BaseWSGIServer):
            raise UserError(f"{host} stands for several addresses; give one, such as 127.0.0.1 or 0.0.0.0")
        self.waitress.channel_class = _Channel
        self.port = int(self.waitress.effective_port)

    def stop(self, *_signal):
        """Take no new connections and end when everything under way is answered, at most `drain_s` later."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self.drain_s
            self.app.extensions["stopping"] = True

    def run(self):
        while self._stop_at is None:
            self._turn(0.2)
        # Who has connected before the signal is served; then the door is closed.
        door, latest = self.waitress.socket, time.monotonic() + 1
        while select.select([door], [], [], 0)[0] and time.monotonic() < latest:
            self._turn(0)
        self.waitress.accepting = False
        self.waitress.del_channel(self.waitress._map)
        door.close()
        quiet_turns = 0
        while quiet_turns < 3:  # a request may have arrived and not been looked at
            self._turn(0.02)
            quiet_turns = quiet_turns + 1 if self._is_drained() else 0
        # Requests are answered; what is left are scans under analysis.
        close_app(self.app, max(self._stop_at - time.monotonic(), 0.1))
        self.waitress.task_dispatcher.shutdown(timeout=1)

    def _turn(self, timeout_s):
        """Receive and send what is ready, or wait for it so long."""
        use_poll = hasattr(select, "poll")
        wasyncore.loop(timeout=timeout_s, map=self.waitress._map, use_poll=use_poll, count=1)

    def _is_drained(self):
        if time.monotonic() > self._stop_at:
            return True
        channels = list(self.waitress.active_channels.values())
        return not any(c.requests or c.request is not None or c.total_outbufs_len for c in channels)
