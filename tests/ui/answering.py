"""A server of nothing: what a tool's pages are to whoever starts and finds them.

Its arguments are those of ``mlops.ui.child``.
"""

from __future__ import annotations

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), _Answer, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=int(sys.argv[2]))
    server.timeout = 0.2
    while os.getppid() == int(sys.argv[1]):
        server.handle_request()
