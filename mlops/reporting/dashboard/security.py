"""Who may read the pages, and what a browser may do with them.

The pages show what the projects hold to whoever can open a connection, so each request has to name this
server as its host (a page elsewhere whose name is pointed here cannot), must not come from another site's
page, and, where a token is set, must carry it.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mlops.errors import ConfigError
from mlops.reporting.dashboard.rendering import environment

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
PARAMETER: Final = "token"
# 16 characters of letters and digits are 95 bits: nobody guesses that over a network.
SHORTEST_TOKEN: Final = 16

CONTENT_POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        # Plotly makes style elements; nothing that a style could load from elsewhere is allowed.
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Where the pages are served, and to whom.

    Args:
        host: The address that is listened on.
        port: The port.
        token: What a reader has to present; None lets in everybody who reaches a loopback address.
        names: Other host names under which readers reach it.
        session: What a browser gets in a cookie for the token; it ends with this process.

    Raises:
        ConfigError: Other machines reach the address and no token is set, or the token is short.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    names: tuple[str, ...] = ()
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < SHORTEST_TOKEN:
            raise ConfigError(
                f"The dashboard's token has {len(self.token)} characters, not {SHORTEST_TOKEN} or more",
                operation="dashboard",
                hint="make one with: python -c 'import secrets; print(secrets.token_urlsafe())'",
            )
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"The dashboard is not served on {self.host}, where other machines reach it, without a token",
                operation="dashboard",
                hint="set MLOPS_DASHBOARD_TOKEN or give --token-file, or leave --host out for 127.0.0.1",
            )

    @property
    def cookie(self) -> str:
        """The cookie's name; browsers do not tell the ports of a host apart."""
        return f"mlops_dashboard_{self.port}"

    def serves(self, authority: str) -> bool:
        """Say whether a request's host is this server.

        Args:
            authority: The header ``Host``: a name or an address, with the port unless that is 80.
        """
        try:
            parts = urlsplit(f"//{authority}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if parts.netloc != authority or "@" in authority or port != self.port:
            return False
        if name in LOOPBACK or name == self.host.lower() or name in map(str.lower, self.names):
            return True
        # Listening on every address: a page elsewhere can make its name point here, but not be an address.
        return is_wildcard(self.host) and (_is_address(name) or name == socket.gethostname().lower())

    def admits(self, given: str) -> bool:
        """Say whether this is the token, in a time that does not tell how much of it is right."""
        return self.token is not None and hmac.compare_digest(
            given.encode(errors="replace"), self.token.encode()
        )

    def remembers(self, cookie: str) -> bool:
        """Say whether a browser's cookie is of this process."""
        return hmac.compare_digest(cookie.encode(errors="replace"), self.session.encode())


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_wildcard(host: str) -> bool:
    """Say whether an address stands for all of the machine's."""
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound


class Guard:
    """Lets through to an application what may read it, and puts the headers on every answer.

    Args:
        app: The application.
        access: Where it is served, and to whom.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access
        self._codes: set[str] = set()

    def invite(self) -> str:
        """Return what admits one browser once, in an address that may be seen by others afterwards."""
        code = secrets.token_urlsafe(32)
        self._codes.add(code)
        return code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
                if "server" in headers:
                    del headers["server"]
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self.app)(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD"):
            answer = _page(405, "Only reading", "These pages only show; nothing can be sent to them.")
            answer.headers["Allow"] = "GET, HEAD"
            return answer
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.serves(hosts[0]):
            return _page(
                400,
                "Another host",
                "The request names a host that is not this server. Open the address that "
                "mlops dashboard printed, or name this one with --allowed-host when starting it.",
            )
        if _foreign(headers, hosts[0]):
            return _page(403, "Another site", "Pages of other sites may link here, but not read from here.")
        return None if self.access.token is None else self._unknown(scope, headers)

    def _unknown(self, scope: Scope, headers: Headers) -> Response | None:
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.access.admits(bearer.strip()):
            return None
        if self.access.remembers(_cookie(headers.getlist("cookie"), self.access.cookie)):
            return None
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if any(key == PARAMETER and self._admits(value) for key, value in query):
            return self._signed_in(scope["path"], [pair for pair in query if pair[0] != PARAMETER])
        answer = _page(
            401,
            "A token is needed",
            f"Open this address once with ?{PARAMETER}= and the token behind it, or send it as "
            "Authorization: Bearer. Whoever started the dashboard has the token.",
        )
        answer.headers["WWW-Authenticate"] = 'Bearer realm="mlops dashboard"'
        return answer

    def _admits(self, given: str) -> bool:
        for code in self._codes:
            if hmac.compare_digest(given.encode(errors="replace"), code.encode()):
                self._codes.remove(code)
                return True
        return self.access.admits(given)

    def _signed_in(self, path: str, query: list[tuple[str, str]]) -> Response:
        # Not a redirect: after one that began at a link on another site, a strict cookie is not sent.
        # Two slashes at the start, of either kind, would make the path another host's address.
        target = "/" + quote(path.lstrip("/\\")) + (f"?{urlencode(query)}" if query else "")
        body = environment().get_template("signed_in.html").render(target=target)
        answer = Response(body, media_type="text/html")
        answer.set_cookie(self.access.cookie, self.access.session, path="/", httponly=True, samesite="strict")
        return answer


def _foreign(headers: Headers, host: str) -> bool:
    """Say whether a page of another site makes this request; following a link from one is no such thing."""
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
        return True
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return False
    return (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) != ("navigate", "document")


def _cookie(headers: Iterable[str], name: str) -> str:
    for header in headers:
        try:
            found = SimpleCookie(header).get(name)
        except CookieError:
            continue
        if found is not None:
            return found.value
    return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _page(status: int, title: str, text: str) -> Response:
    body = environment().get_template("refused.html").render(status=status, title=title, text=text)
    return Response(body, status, media_type="text/html")
