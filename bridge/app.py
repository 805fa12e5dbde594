"""The composition root: builds every part, starts and stops them in order.

Stopping is an ordered list: not ready any more, no more intake, what is in the air is finished,
places are handed over, connections are closed, the embedded Redis goes last.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import structlog

from bridge import metrics
from bridge.connect.api import ConnectSettings
from bridge.connect.chat import ConnectSide
from bridge.connect.quota import DEFAULT_RATES, Rate
from bridge.core.errors import Denied, Failure, StoreAway
from bridge.core.model import Policy, Reopen
from bridge.core.ports import Clock
from bridge.relay import gauges
from bridge.relay.clock import StoppableClock, SystemClock
from bridge.relay.kit import Kit, Timing
from bridge.relay.lease import Lease
from bridge.relay.pace import Pace
from bridge.relay.worker import Worker
from bridge.settings import Settings
from bridge.slack.api import Api
from bridge.slack.directory import Directory
from bridge.slack.history import SlackHistory
from bridge.slack.inbound import Door, Intake, bolt_app
from bridge.slack.model import SlackSettings
from bridge.slack.outbound import SlackSide
from bridge.slack.places import Places
from bridge.slack.socket import SocketMode
from bridge.slack.translate import Viewpoint
from bridge.store import embedded
from bridge.store.binary import NoServer
from bridge.store.crypto import Box, make_or_read_key
from bridge.store.redis import RedisStore, connect
from bridge.web import Web

log = structlog.get_logger(__name__)
T = TypeVar("T")

_DRAIN_SECONDS = 5.0
_START_DELAYS = (0.5, 1.0, 2.0, 5.0)


class CannotStart(Exception):
    """What a person has to mend before the service can run."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, as its owner sees it."""

    port: int
    """Where probes and metrics are served."""
    run: Callable[[asyncio.Event], Awaitable[None]]
    """Works until the event is set; raises where a part ends uninvited."""


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the service until `stop` is set. Raises CannotStart, or whatever ended it uninvited."""
    async with AsyncExitStack() as stack:
        service = await _started(stack, settings, stop)
        if service is not None:
            log.info("ready", port=service.port, transport=_transport(settings))
            await service.run(stop)
        log.info("stopping")
    log.info("stopped")


async def _started(
    stack: AsyncExitStack, settings: Settings, stop: asyncio.Event
) -> Service | None:
    """The running service, or None where `stop` came first: a start may have to wait for Slack."""
    starting = asyncio.create_task(stack.enter_async_context(running(settings)))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        starting.cancel()
        stopped.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)
    return None if starting.cancelled() else starting.result()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """Start everything; stop it in the reverse order. Raises CannotStart."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        start = _Start(clock)
        door = Door()
        web = await _listen(stack, settings, start, door)
        store = await _open_store(stack, settings)
        slack = _slack_settings(settings)
        pauses = StoppableClock(clock)
        api = await stack.enter_async_context(Api(slack, pauses.sleep))
        identity = await start.insist("Slack", api.identity)
        places = Places(api, settings.support_channels)
        await start.insist("Slack", places.start)
        directory = Directory(api, identity, places, clock, slack.customers)
        _warn("BRIDGE_SUPPORT_CHANNELS", places.unresolved, "the bot is in no channel of this name")
        _warn(
            "BRIDGE_CUSTOMERS",
            await start.insist("Slack", directory.unknown_groups),
            "no user group has this handle; whoever is in no other one waits until one has",
        )
        view = Viewpoint(identity, places.is_support, settings.dm_threads)
        agent = ConnectSide(_connect_settings(settings), clock)
        stack.push_async_callback(agent.close)

        lease = Lease(clock, settings.lease_seconds)
        customer = SlackSide(api, view, directory)
        kit = Kit(
            store=store,
            customer=customer,
            agent=agent,
            clock=pauses,
            policy=_policy(settings),
            pace=Pace(pauses, settings.slack_posts_per_second),
            guard=lease.guard,
            redis_now=lease.redis_now,
            timing=_timing(settings),
        )
        worker = Worker(
            kit,
            lease,
            clock,
            SlackHistory(api, view, places),
            # Connect's quotas are the instance's: every replica keeps to its part.
            on_replicas=lambda replicas: agent.set_share(1 / replicas),
        )
        if not settings.redis_url.get_secret_value():
            await start.insist("Redis", store.expel_others)
        await start.insist("Redis", worker.start)
        stack.push_async_callback(worker.stop, settings.grace_seconds, pauses.stop)
        await _warn_of_redis(start, store)

        intake = Intake(view, places, worker.accept)
        bolt = bolt_app(slack, api, identity, intake)
        web.add_check("redis", lambda: worker.trouble)
        if settings.socket_mode:
            sockets = SocketMode(
                bolt, api, slack.app_token, intake, clock, heard_again=worker.catchup.missed
            )
            web.add_check("slack", lambda: None if sockets.ready else "no Socket Mode connection")
            await start.insist("Slack", sockets.start)
            stack.push_async_callback(sockets.close, _DRAIN_SECONDS)
        else:
            door.open(bolt, slack.signing_secret)
        # What is in the air there ends before the worker stops.
        stack.push_async_callback(web.stop)
        start.waits_for = None
        stopping = asyncio.Event()
        web.add_check("service", lambda: "stopping" if stopping.is_set() else None)
        _watch(worker, clock)

        async def run(stop: asyncio.Event) -> None:
            await _until(stop, worker)
            stopping.set()

        yield Service(web.port, run)


async def _until(stop: asyncio.Event, worker: Worker) -> None:
    """Wait for `stop`; a part that ends before is an error of the service."""
    stopped = asyncio.create_task(stop.wait())
    working = asyncio.create_task(worker.run())
    try:
        await asyncio.wait((stopped, working), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            raise RuntimeError("the worker ended uninvited")
    finally:
        stopped.cancel()
        working.cancel()
        await asyncio.gather(stopped, working, return_exceptions=True)


async def _listen(stack: AsyncExitStack, settings: Settings, start: _Start, door: Door) -> Web:
    """Serve the probes, which tell what the start waits for, and in HTTP mode the closed door."""
    web = Web(settings.http_host, settings.http_port)
    web.add_check("start", lambda: start.waits_for)
    if not settings.socket_mode:
        web.mount(lambda app: app.add_routes(door.routes()))
    try:
        await web.start(stop_seconds=_DRAIN_SECONDS)
    except OSError as error:
        raise CannotStart(
            f"BRIDGE_HTTP_HOST/BRIDGE_HTTP_PORT: cannot listen on "
            f"{settings.http_host}:{settings.http_port} ({error.strerror}); "
            f"give another port, or 0 for any free one"
        ) from None
    stack.push_async_callback(web.stop)
    log.info("listening", port=web.port)
    return web


async def _open_store(stack: AsyncExitStack, settings: Settings) -> RedisStore:
    url, keys = settings.redis_url.get_secret_value(), settings.encryption_keys.get_secret_value()
    try:
        box = Box(keys or make_or_read_key(settings.data_dir))
        if url:
            client = connect(url)
        else:
            path = await stack.enter_async_context(
                embedded.server(settings.data_dir, appendfsync=settings.appendfsync)
            )
            client = connect(unix_socket=path)
    except (OSError, ValueError, embedded.CannotServe, NoServer) as error:
        raise CannotStart(str(error)) from None
    store = RedisStore(
        client,
        box=box,
        incarnation=secrets.token_hex(8),
        lease_seconds=settings.lease_seconds,
        prefix=settings.redis_prefix,
        retention_seconds=settings.retention_days * 86400.0,
        places=settings.max_places,
        unreadable=lambda _: metrics.ALARMS.labels("unreadable_record").inc(),
    )
    stack.push_async_callback(store.close)
    return store


class _Start:
    """The way to a running service."""

    def __init__(self, clock: Clock) -> None:
        self.waits_for: str | None = "the service is starting"
        """Why it does not run yet."""
        self._clock = clock

    async def insist(self, whose: str, call: Callable[[], Awaitable[T]]) -> T:
        """Try until it works; what only a person can mend is raised as CannotStart. A Redis that
        refuses us is waited for, too: it may be ours that is late, and nothing of what replicas
        that run have taken in depends on this one."""
        attempt = 0
        while True:
            try:
                answer = await call()
            except Denied as refusal:
                raise _refused(whose, refusal) from None
            except (Failure, StoreAway) as error:
                self._note(f"waiting for {whose}: {error}", error)
                await self._clock.sleep(_START_DELAYS[min(attempt, len(_START_DELAYS) - 1)])
                attempt += 1
            else:
                self.waits_for = "the service is starting"
                return answer

    def _note(self, reason: str, error: Failure | StoreAway) -> None:
        if reason == self.waits_for:
            return
        log.warning("waiting_to_start", reason=reason)
        self.waits_for = reason
        if isinstance(error, StoreAway) and error.lasting:
            metrics.ALARMS.labels("redis_refuses").inc()


def _refused(whose: str, refusal: Denied) -> CannotStart:
    if refusal.code == "missing_scope":
        return CannotStart(
            f"{whose} refuses {refusal.call}: the app lacks a scope; "
            f"add it (docs/slack-setup.md says which) and install the app again"
        )
    return CannotStart(f"{whose} refuses our credentials: {refusal}")


def _warn(variable: str, names: frozenset[str], problem: str) -> None:
    """What may yet come true in Slack is no reason not to start."""
    for entry in sorted(names):
        log.warning("setting_not_found_in_slack", variable=variable, entry=entry, problem=problem)


async def _warn_of_redis(start: _Start, store: RedisStore) -> None:
    for concern in await start.insist("Redis", store.concerns):
        log.warning("redis_setting", concern=concern)


def _watch(worker: Worker, clock: Clock) -> None:
    """Gauges that are read when somebody asks."""
    lanes = worker.lanes.values()
    metrics.LANES.set_function(lambda: len(lanes))
    metrics.PLACES_OWNED.set_function(worker.places_owned)
    metrics.OPEN_CONVERSATIONS.set_function(lambda: gauges.open_conversations(lanes))
    metrics.LANES_BEHIND.set_function(lambda: gauges.behind(lanes))
    age = metrics.QUEUE_AGE_SECONDS
    age.labels(metrics.TO_AGENT).set_function(lambda: gauges.oldest_waiting(lanes, clock.now()))
    age.labels(metrics.TO_CUSTOMER).set_function(lambda: gauges.oldest_owed(lanes, clock.now()))


def _transport(settings: Settings) -> str:
    return "socket_mode" if settings.socket_mode else "http"


def _slack_settings(settings: Settings) -> SlackSettings:
    return SlackSettings(
        bot_token=settings.slack_bot_token.get_secret_value(),
        app_token=settings.slack_app_token.get_secret_value(),
        signing_secret=settings.slack_signing_secret.get_secret_value(),
        api_url=settings.slack_api_url,
        support_channels=settings.support_channels,
        customers=settings.customers,
        dm_threads=settings.dm_threads,
        request_timeout=settings.slack_timeout_seconds,
    )


def _connect_settings(settings: Settings) -> ConnectSettings:
    scale = settings.connect_quota_scale
    return ConnectSettings(
        region=settings.aws_region,
        instance_id=settings.connect_instance_id,
        contact_flow_id=settings.connect_contact_flow_id,
        start_chat_url=settings.connect_start_chat_url.get_secret_value(),
        endpoint_url_connect=settings.aws_endpoint_url_connect,
        endpoint_url_participant=settings.aws_endpoint_url_connectparticipant,
        content_types=settings.content_types,
        chat_duration_minutes=settings.chat_duration_minutes,
        response_mode=settings.response_mode,
        disconnect_on_customer_exit=settings.disconnect_on_customer_exit,
        connection_types=settings.connection_types,
        reorder_window_ms=settings.reorder_window_ms,
        quotas={
            operation: Rate(rate.per_second * scale, rate.burst * scale)
            for operation, rate in DEFAULT_RATES.items()
        },
    )


def _policy(settings: Settings) -> Policy:
    return Policy(
        reopen=Reopen(settings.reopen),
        initial_message=settings.initial_message,
        rehydrate=settings.rehydrate,
        rehydrate_seconds=settings.rehydrate_seconds,
        split_limit=settings.split_limit,
    )


def _timing(settings: Settings) -> Timing:
    return Timing(post_timeout=settings.slack_timeout_seconds, look_delay=settings.look_seconds)
