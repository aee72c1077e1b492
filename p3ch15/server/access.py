"""Who may ask the server, and what a browser may do with its answers (see SECURITY.md beside this file).

Checked twice: by the web server in front, before it takes in a body, and by the application itself, which may
run under another one.
"""

import base64
import binascii
import hmac
import ipaddress
from urllib.parse import urlsplit

READING = ("GET", "HEAD", "OPTIONS")
CHALLENGE = 'Basic realm="scans", charset="UTF-8"'  # makes a browser ask for the token

_EVERYWHERE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    f"{_EVERYWHERE}; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'"
)
# The report brings its style and pictures in itself, and runs nothing.
REPORT_POLICY = f"{_EVERYWHERE}; style-src 'unsafe-inline'; img-src data:"

HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # A scan is a patient's: nothing of it stays behind in a browser.
    "Cache-Control": "no-store",
}


def is_loopback(host) -> bool:
    """Does this address or name let in this machine only?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """The rules. hosts: names, besides addresses and localhost, by which clients may call the server.

    token: what a client must show, as `Authorization: Bearer TOKEN` or as the password of HTTP Basic; None
    lets everybody in who reaches the port.
    """

    def __init__(self, hosts=(), token=None):
        self.hosts = {host.lower() for host in hosts}
        self.token = token

    def refusal(self, method, headers) -> tuple[int, str] | None:
        """(status, sentence) for a request that is not served, else None. headers: anything with `get`."""
        host = headers.get("Host", "")
        if not self._is_trusted(host):
            return 400, "this server is not called by that name; see --allow-host"
        if method not in READING and not self._is_from_own_page(headers, host):
            return 403, "a page of another site may not change anything here"
        if self.token is not None and not self._has_token(headers.get("Authorization", "")):
            return 401, "show the token that the server was started with"
        return None

    def _is_trusted(self, host):
        """A stranger can make a name of theirs point to this machine (DNS rebinding), but no address."""
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname or "", parts.port  # asking for a port that is no number raises
            if name == "localhost" or name in self.hosts:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _is_from_own_page(self, headers, host):
        """Browsers say which page a request comes from; programs such as curl say nothing."""
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return False
        return site in (None, "same-origin", "none")

    def _has_token(self, authorization):
        kind, _, shown = authorization.partition(" ")
        if kind.lower() == "basic":
            try:
                shown = base64.b64decode(shown, validate=True).decode("utf-8").partition(":")[2]
            except (binascii.Error, ValueError):
                return False
        elif kind.lower() != "bearer":
            return False
        # In constant time: how long a comparison takes must not tell how much of a guess was right.
        return hmac.compare_digest(shown.encode("utf-8", "replace"), self.token.encode("utf-8"))
