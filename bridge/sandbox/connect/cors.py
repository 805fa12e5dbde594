"""Cross-origin headers, which browsers need to reach the Participant Service and the files."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

EXPOSED = "x-amzn-ErrorType, x-amzn-RequestId, Retry-After, ETag"


def _is_service(request: web.BaseRequest) -> bool:
    """The desk is not a service: no page of elsewhere may drive it."""
    return not request.path.startswith("/sandbox/")


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer OPTIONS for every path of the services."""
    if request.method != "OPTIONS" or not _is_service(request):
        return await handler(request)
    return web.Response(
        headers={
            "Access-Control-Allow-Methods": "GET, POST, PUT",
            "Access-Control-Allow-Headers": request.headers.get(
                "Access-Control-Request-Headers", "*"
            ),
            "Access-Control-Max-Age": "86400",
        }
    )


async def allow_origins(request: web.Request, response: web.StreamResponse) -> None:
    """Let any origin read the services' answers."""
    if _is_service(request) and "Origin" in request.headers:
        response.headers.setdefault("Access-Control-Allow-Origin", "*")
        response.headers.setdefault("Access-Control-Expose-Headers", EXPOSED)
