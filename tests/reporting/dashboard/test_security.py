"""Who may read the pages, asked over real connections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mlops import WorkspaceManager
from mlops.errors import ConfigError
from mlops.reporting.dashboard.security import HEADERS, Access
from mlops.reporting.dashboard.server import DashboardServer
from tests.reporting.dashboard.serving import Answer, ask

TOKEN = "a-token-of-24-characters"  # noqa: S105


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardServer]:
    with DashboardServer(WorkspaceManager(tmp_path_factory.mktemp("open") / "base")) as server:
        yield server


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DashboardServer]:
    manager = WorkspaceManager(tmp_path_factory.mktemp("closed") / "base")
    with DashboardServer(manager, token=TOKEN) as server:
        yield server


def port(server: DashboardServer) -> int:
    return urlsplit(server.url).port or 0


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_the_server_answers_under_its_own_names(open_server: DashboardServer, host: str) -> None:
    assert ask(open_server, hosts=(host.format(port=port(open_server)),)).status == 200


@pytest.mark.parametrize(
    "hosts",
    [
        ("attacker.example:{port}",),
        ("127.0.0.1.attacker.example:{port}",),
        ("127.0.0.1:1",),
        ("127.0.0.1",),
        ("localhost",),
        ("",),
        ("user@127.0.0.1:{port}",),
        ("127.0.0.1:{port}/path",),
        ("127.0.0.1:port",),
        ("192.168.0.1:{port}",),
        ("[::1:{port}",),
    ],
)
def test_another_host_is_refused(open_server: DashboardServer, hosts: tuple[str, ...]) -> None:
    answer = ask(open_server, hosts=tuple(host.format(port=port(open_server)) for host in hosts))
    assert answer.status == 400
    assert "No project" not in answer.text


def test_two_hosts_or_none_are_refused(open_server: DashboardServer) -> None:
    own = urlsplit(open_server.url).netloc
    assert ask(open_server, hosts=(own, own)).status == 400
    assert ask(open_server, hosts=()).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_only_reading_is_allowed(open_server: DashboardServer, method: str) -> None:
    answer = ask(open_server, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_is_reading(open_server: DashboardServer) -> None:
    answer = ask(open_server, method="HEAD")
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://attacker.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://{own}"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}, 200),
    ],
)
def test_pages_of_other_sites_may_only_link_here(
    open_server: DashboardServer, headers: dict[str, str], status: int
) -> None:
    own = urlsplit(open_server.url).netloc
    given = {name: value.format(own=own) for name, value in headers.items()}
    assert ask(open_server, "/report.json", headers=given).status == status


@pytest.mark.parametrize("path", ["/", "/report.json", "/static/app.js", "/no-such-page", "/static/app.py"])
def test_every_answer_has_the_headers(open_server: DashboardServer, path: str) -> None:
    answer = ask(open_server, path)
    assert {name: answer.headers.get(name.lower()) for name in HEADERS} == HEADERS
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    # Scripts are what the default says: files of this server, and nothing in a page.
    assert "script-src" not in policy
    assert "unsafe-eval" not in policy
    assert policy.count("unsafe-inline") == 1
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert answer.headers["cache-control"] == ("no-cache" if path == "/static/app.js" else "no-store")
    assert "server" not in answer.headers


def test_a_websocket_is_refused(open_server: DashboardServer) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    # Depending on what uvicorn has installed it is refused, or answered as the plain request it also is.
    assert ask(open_server, headers=upgrade).status != 101


@pytest.mark.parametrize(
    "path",
    ["/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/../../facts.py", "/static/%00", "/static/"],
)
def test_no_other_file_is_served(open_server: DashboardServer, path: str) -> None:
    answer = ask(open_server, path)
    assert answer.status == 404
    assert "import" not in answer.text


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])  # noqa: S104
def test_an_address_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(host)) as caught:
        Access(host)
    assert "MLOPS_DASHBOARD_TOKEN" in str(caught.value.hint)
    Access(host, token=TOKEN)


def test_nothing_listens_when_the_address_is_refused(base: Path) -> None:
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0"):
        DashboardServer(WorkspaceManager(base), host="0.0.0.0")  # noqa: S104
    with pytest.raises(ConfigError, match="no address"):
        DashboardServer(WorkspaceManager(base), host="a" * 300)


def test_a_short_token_is_refused_and_not_told() -> None:
    with pytest.raises(ConfigError, match="7 characters") as caught:
        Access("127.0.0.1", token="secret7")
    assert "secret7" not in f"{caught.value}{caught.value.hint}"


def test_of_all_addresses_only_numbers_and_own_names_are_served() -> None:
    access = Access("0.0.0.0", 8000, TOKEN, ("dash.example",))  # noqa: S104
    assert access.serves("10.1.2.3:8000")
    assert access.serves("[fe80::1]:8000")
    assert access.serves("DASH.example:8000")
    assert not access.serves("attacker.example:8000")
    assert not access.serves("10.1.2.3:8001")


def test_without_the_token_nothing_is_shown(closed_server: DashboardServer) -> None:
    for path in ("/", "/report.json", "/static/app.js", "/search?q=x", "/?token=wrong-token-of-24-chars"):
        answer = ask(closed_server, path)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "set-cookie" not in answer.headers
        assert TOKEN not in answer.text


@pytest.mark.parametrize("given", ["", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\u00e9" * 24])
def test_another_bearer_is_refused(closed_server: DashboardServer, given: str) -> None:
    headers = {"Authorization": f"Bearer {given}".encode().decode("latin-1")}
    assert ask(closed_server, headers=headers).status == 401


def test_the_token_is_taken_as_bearer(closed_server: DashboardServer) -> None:
    assert ask(closed_server, "/report.json", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert ask(closed_server, "/report.json", headers={"Authorization": f"Basic {TOKEN}"}).status == 401


def test_the_token_in_the_address_becomes_a_cookie(closed_server: DashboardServer) -> None:
    answer = ask(closed_server, f"/search?q=a%26b&token={TOKEN}")
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in answer.text + cookie
    assert 'content="0;url=/search?q=a%26b"' in answer.text
    assert signed_in(closed_server, answer).status == 200
    name, _, value = cookie.partition(";")[0].partition("=")
    assert ask(closed_server, headers={"Cookie": f"{name}={value[:-1]}x"}).status == 401


def test_the_printed_address_lets_one_browser_in(closed_server: DashboardServer) -> None:
    printed = urlsplit(closed_server.page)
    assert TOKEN not in closed_server.page
    first = ask(closed_server, f"/?{printed.query}")
    assert signed_in(closed_server, first).status == 200
    assert ask(closed_server, f"/?{printed.query}").status == 401


def test_signing_in_leads_to_no_other_host(closed_server: DashboardServer) -> None:
    for path in ("//attacker.example/x", "/%2f/attacker.example", "/\\attacker.example"):
        answer = ask(closed_server, f"{path}?token={TOKEN}")
        (target,) = re.findall(r'url=([^"]*)"', answer.text)
        assert re.match(r"/(?![/\\])", target)


def signed_in(server: DashboardServer, answer: Answer) -> Answer:
    return ask(server, headers={"Cookie": answer.headers["set-cookie"].partition(";")[0]})
