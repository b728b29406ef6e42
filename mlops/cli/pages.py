"""What commands that serve web pages have in common: they open a browser, and end on Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import AbstractContextManager
from types import FrameType
from typing import Annotated, Any, ClassVar, Protocol

import typer

BrowserOption = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")]
PortOption = Annotated[
    int | None, typer.Option(min=1, max=65535, help="The port on 127.0.0.1.", show_default="a free one")
]


class Pages(AbstractContextManager[Any], Protocol):
    """A server of pages, which runs inside ``with``."""

    title: ClassVar[str]

    @property
    def page(self) -> str:
        """The page to open in a browser."""

    def wait(self) -> None:
        """Wait until it ends."""


def serve(server: Pages, *, browser: bool) -> None:
    """Run a server until it is asked to stop.

    Args:
        server: The server.
        browser: Open its page, where there is a screen.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        # What the shell started in the background ignores Ctrl-C, and goes on to.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        with server:
            typer.echo(f"{server.title}: {server.page} (Ctrl-C stops it)")
            sys.stdout.flush()
            if browser and _has_browser():
                typer.launch(server.page)
            server.wait()
    except KeyboardInterrupt:
        # Asked to stop, and it has: that is how such a command ends.
        return


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # A second one must not cut the clean end short.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _has_browser() -> bool:
    # In a terminal without a screen a text browser would take the terminal over.
    screen = sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return screen and sys.stdout.isatty()
