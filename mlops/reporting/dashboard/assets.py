"""The files that pages load: our own, and the Plotly of the installed package; nothing from a network."""

from __future__ import annotations

import functools
import mimetypes
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

_STATIC: Final = Path(__file__).with_name("static")
_PLOTLY: Final = "plotly.min.js"


def routes() -> list[Route]:
    """Return the routes of the files."""
    return [Route("/static/{name}", _asset, name="static")]


@functools.cache
def files() -> dict[str, Path]:
    """Return the files by name; no other is ever served."""
    found = {path.name: path for path in _STATIC.iterdir()}
    # Importing the package would take longer than sending its file.
    spec = find_spec("plotly")
    if spec is not None and spec.origin is not None:
        found[_PLOTLY] = Path(spec.origin).parent / "package_data" / _PLOTLY
    return found


async def _asset(request: Request) -> Response:
    path = files().get(request.path_params["name"])
    if path is None or not path.is_file():
        raise HTTPException(404)
    kind = mimetypes.guess_type(path.name)[0]
    # Asked for again each time, and sent only if it has changed.
    answer = FileResponse(
        path, stat_result=path.stat(), media_type=kind, headers={"Cache-Control": "no-cache"}
    )
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if answer.headers["etag"] in known:
        kept = {name: answer.headers[name] for name in ("etag", "cache-control")}
        return Response(status_code=304, headers=kept)
    return answer
