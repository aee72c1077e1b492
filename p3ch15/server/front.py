"""The web server in front of the application (Tornado): what it takes in, and a gentle end.

A Flask application wants a thread for each request and the request whole. Clients may be slow, so one thread
of asyncio speaks with all of them, and a request gets a thread when all of it is here. Until then it costs
memory or disk: how much one body may have, how much all of them together, and for how long, is decided here.
"""

import asyncio
import http
import json
import select
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from tornado import httputil
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.wsgi import WSGIContainer
from werkzeug.test import run_wsgi_app

from p3ch15.server.access import CHALLENGE, HEADERS
from p3ch15.server.app import MAX_JSON_BYTES, MAX_SCAN_BYTES, close_app
from util.errors import UserError

MAX_CONNECTIONS = 800
MAX_BODIES_BYTES = 2 * MAX_SCAN_BYTES  # all bodies together that are not answered yet
IN_MEMORY_BYTES = 2**20  # of one body; more goes to an unnamed file
IDLE_S = 60.0  # for a request's head, and for a client to take some of an answer
BODY_S, SCAN_BODY_S = 60.0, 1800.0  # for the whole of a body to come
LINGER_S = 2.0


class Room:
    """How many bytes all bodies together may hold."""

    def __init__(self, most):
        self.most, self.held = most, 0

    def take(self, count) -> bool:
        """Take `count` bytes if there is room for them."""
        if self.held + count > self.most:
            return False
        self.held += count
        return True

    def give(self, count):
        """Give `count` bytes back."""
        self.held -= count


class _Exchange(httputil.HTTPMessageDelegate):
    """One request and its answer. Tornado calls the methods without a leading underscore, in this order."""

    def __init__(self, server, connection):
        self.server, self.connection = server, connection
        self.request = self.body = self.task = self.linger = None
        self.limit, self.size, self.is_refused = 0, 0, False

    def headers_received(self, start_line, headers):
        self.server.exchanges.add(self)
        try:
            self.request = httputil.HTTPServerRequest(
                connection=self.connection, start_line=start_line, headers=headers
            )
        except httputil.HTTPInputError as error:
            return self._refuse(400, str(error))
        is_scan = self.request.path == "/scans"
        self.limit = MAX_SCAN_BYTES if is_scan else MAX_JSON_BYTES
        self.connection.set_body_timeout(SCAN_BODY_S if is_scan else BODY_S)
        length = headers.get("Content-Length", "")
        refusal = self.server.access.refusal(start_line.method, headers)
        if refusal is not None:
            self._refuse(*refusal)
        elif length.isascii() and length.isdigit() and int(length[:20]) > self.limit:
            self._refuse(413, f"at most {self.limit:,} bytes are taken here")
        else:
            self.body = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 (see _release)
        return None

    def data_received(self, chunk):
        if self.is_refused:
            return
        if self.size + len(chunk) > self.limit:
            self._refuse(413, f"at most {self.limit:,} bytes are taken here")
        elif not self.server.room.take(len(chunk)):
            self._refuse(503, "too much is being sent at once; try again later")
        else:
            self.size += len(chunk)
            try:
                self.body.write(chunk)
            except OSError:
                self._refuse(503, "the server's disk is full; try again later")

    def finish(self):
        if self.is_refused:
            self._end_refused()
        else:
            self.task = asyncio.ensure_future(self._answer())

    def on_connection_close(self):
        if self.linger is not None:
            self.linger.cancel()
            self.linger = None
        if self.task is None:  # else the answer notices by itself
            self._release()

    def _refuse(self, status, sentence):
        """Answer before the body is here, and take no more of it.

        The client may be sending still, and would not see the answer if the connection were closed at once. So
        what comes is thrown away for a moment.
        """
        self.is_refused = True
        body = json.dumps({"error": sentence}).encode()
        headers = HEADERS | {"Content-Type": "application/json", "Content-Length": str(len(body))}
        if status == 401:
            headers["WWW-Authenticate"] = CHALLENGE
        if status == 503:
            headers["Retry-After"] = "5"
        self.server.refused(status)
        self._begin(status, (headers | {"Connection": "close"}).items(), body)
        self._give_back()
        self.linger = asyncio.get_running_loop().call_later(LINGER_S, self._end_refused)

    def _end_refused(self):
        if self.linger is not None:
            self.linger.cancel()
            self.linger = None
            self.connection.finish()
            self._release()

    async def _answer(self):
        rest = None
        try:
            status, headers, data, rest = await self.server.in_thread(self._call)
            await self._taken(self._begin(int(status[:3]), headers, data))
            while rest is not None and (chunk := await self.server.in_thread(next, rest, None)) is not None:
                await self._taken(self.connection.write(chunk))
            self.connection.finish()
        except (StreamClosedError, asyncio.TimeoutError):  # the client has gone, or sleeps
            self.connection.close()
        finally:
            if rest is not None:
                await self.server.in_thread(rest.close)
            self._release()

    def _call(self):
        """In a thread: the application's answer, as (status, headers, the data or its begin, what is left)."""
        self.body.seek(0)
        environ = self.server.container.environ(self.request)
        environ |= {"wsgi.input": self.body, "wsgi.input_terminated": True, "CONTENT_LENGTH": str(self.size)}
        chunks, status, headers = run_wsgi_app(self.server.app, environ)
        data = b""
        for chunk in chunks:
            data += chunk
            if len(data) >= IN_MEMORY_BYTES:
                return status, headers, data, chunks
        if hasattr(chunks, "close"):
            chunks.close()
        return status, headers, data, None

    def _begin(self, status, headers, data):
        sent = httputil.HTTPHeaders()
        for name, value in headers:
            sent.add(name, value)
        if self.server.is_closing:
            sent["Connection"] = "close"
        line = httputil.ResponseStartLine("HTTP/1.1", status, http.HTTPStatus(status).phrase)
        return self.connection.write_headers(line, sent, data or None)

    async def _taken(self, written):
        """Wait until the client has taken what was written, but not for ever."""
        await asyncio.wait_for(written, IDLE_S)

    def _release(self):
        self.server.exchanges.discard(self)
        self._give_back()

    def _give_back(self):
        """Let go of the body."""
        self.server.room.give(self.size)
        self.size = 0
        if self.body is not None:
            self.body.close()


class _Listener(HTTPServer):
    """Tornado's server, with exchanges of ours and a limit on connections."""

    def initialize(self, server, **options):
        super().initialize(None, **options)
        self.server = server

    def handle_stream(self, stream, address):
        if self.server.connections >= MAX_CONNECTIONS:
            stream.close()
            return
        self.server.connections += 1
        super().handle_stream(stream, address)

    def start_request(self, server_conn, request_conn):
        return _Exchange(self.server, request_conn)

    def on_close(self, server_conn):
        super().on_close(server_conn)
        self.server.connections -= 1


class Server:
    """An application at a port; `run` returns after `stop`, when all is answered.

    host: an address or a name; port 0 takes any that is free (`port` says which). threads: that call the
    application. drain_s: how long what is under way may take after `stop`. max_bodies: bytes that all
    requests' bodies may hold together. Raises `UserError` where it cannot listen.
    """

    def __init__(
        self, app, host="127.0.0.1", port=8000, threads=4, drain_s=30.0, max_bodies=MAX_BODIES_BYTES
    ):
        self.app, self.drain_s = app, drain_s
        self.access, self.refused = app.extensions["access"], app.extensions["refused"]
        self.room, self.exchanges, self.connections = Room(max_bodies), set(), 0
        self.is_closing, self._stop_at = False, None
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self.container = WSGIContainer(app, self._pool)
        try:
            self._sockets = bind_sockets(port, host, backlog=1024)
        except (OSError, ValueError, OverflowError) as error:
            raise UserError(f"cannot listen on {host}, port {port} ({error}); choose another") from error
        self.port = self._sockets[0].getsockname()[1]

    def in_thread(self, call, *arguments):
        """An awaitable of `call(*arguments)` in one of the application's threads."""
        return asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def stop(self, *_signal):
        """Take no new connections and end when everything under way is answered, at most `drain_s` later."""
        if self._stop_at is None:
            self._stop_at = time.monotonic() + self.drain_s
            self.app.extensions["stopping"] = True

    def run(self):
        """Serve until `stop` is called, by a signal or another thread."""
        asyncio.run(self._serve())

    async def _serve(self):
        listener = _Listener(
            self, idle_connection_timeout=IDLE_S, max_header_size=2**16, chunk_size=2**18,
            max_body_size=2**40, max_buffer_size=2**22,  # bodies have limits of ours, above
        )  # fmt: skip
        listener.add_sockets(self._sockets)
        while self._stop_at is None:
            await asyncio.sleep(0.1)
        # Who has connected before the signal is served; then the door is closed.
        latest = time.monotonic() + 1
        while select.select(self._sockets, [], [], 0)[0] and time.monotonic() < latest:
            await asyncio.sleep(0.01)
        listener.stop()
        self.is_closing = True
        quiet_turns = 0
        while quiet_turns < 3 and time.monotonic() < self._stop_at:
            await asyncio.sleep(0.02)  # a request may have arrived and not been looked at
            quiet_turns = 0 if self.exchanges else quiet_turns + 1
        await listener.close_all_connections()
        # Requests are answered; what is left are scans under analysis.
        await asyncio.to_thread(close_app, self.app, max(self._stop_at - time.monotonic(), 0.1))
        self._pool.shutdown(wait=False, cancel_futures=True)
