"""Faults of calls, as every kind of HTTP call suffers them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

from bridge.sandbox.connect.requests import Request
from bridge.sandbox.faults import Fault, FaultPlan

_KINDS = frozenset({"throttle", "error", "no_answer", "drop", "reject"})


async def strike(
    plan: FaultPlan, target: str, record: Request, context: Mapping[str, str]
) -> Fault | None:
    """Suffer a delay, if one is due, and answer whatever else is."""
    if delay := plan.strike(target, {"delay"}, context):
        record.fault = delay.kind
        await asyncio.sleep(delay.seconds())
    fault = plan.strike(target, _KINDS, context)
    if fault is not None:
        record.fault = fault.kind
    return fault


def abandon(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
