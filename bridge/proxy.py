"""The way out through a company's proxy, by the usual variables: HTTPS_PROXY, HTTP_PROXY, NO_PROXY.

aiohttp would read them for every request, and accounts from ~/.netrc with them (`trust_env`).
"""

from __future__ import annotations

import functools
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_SECURE = {"wss": "https", "ws": "http"}


def proxy_for(url: str) -> str | None:
    """The proxy for requests and WebSockets to this address; None: there is none."""
    parts = urlsplit(url)
    return _proxy(_SECURE.get(parts.scheme, parts.scheme), parts.hostname or "", parts.netloc)


@functools.cache
def _proxy(scheme: str, host: str, netloc: str) -> str | None:
    if host in {"localhost", "::1"} or host.startswith("127."):
        return None
    if proxy_bypass(netloc.rpartition("@")[2]):
        return None
    found = getproxies().get(scheme)
    return f"http://{found}" if found and "://" not in found else found
