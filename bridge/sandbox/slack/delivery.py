"""Carries events to the app: wraps them, applies faults, tries again until they are answered."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bridge.sandbox.faults import Fault, FaultPlan
from bridge.sandbox.slack import events
from bridge.sandbox.slack.model import Channel, Installation, Json
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.world import World

EVENT_FAULTS = (
    "duplicate_events", "delay_events", "reorder_events", "lose_events", "lose_acks",
)  # fmt: skip
NO_RECEIVER = "no_receiver"
STOPPED = "stopped"
HOLD_SECONDS = 5.0
"""How long `reorder_events` holds an event that nothing follows."""


@dataclass
class Attempt:
    """One try; `failure` is why it was not answered, None while open or when it was."""

    at: float
    by: str
    failure: str | None = None


@dataclass(eq=False)
class Delivery:
    """One event, click or command on its way. `kind` is the Socket Mode envelope type."""

    kind: str
    type: str
    payload: Json
    event_id: str | None = None
    channel: str | None = None
    accepts_payload: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    envelopes: list[str] = field(default_factory=list)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Any = None
    ack_latency: float | None = None
    taken_at: float | None = None
    """When the app first acknowledged it (monotonic), whether that was heard or not."""
    deaf: int = 0
    """So many acknowledgements are not heard."""

    def ack(self, answer: Any) -> None:
        """Note the app's answer; the latency counts from the latest try."""
        if self.taken_at is None:
            self.taken_at = time.monotonic()
        if self.deaf:
            self.deaf -= 1
        elif not self.answered.is_set():
            self.answer = answer
            self.ack_latency = time.monotonic() - self.attempts[-1].at
            self.answered.set()

    def show(self) -> Json:
        """For the customer's API."""
        return {
            "event_id": self.event_id,
            "kind": self.kind,
            "type": self.type,
            "channel": self.channel,
            "attempts": len(self.attempts),
            "failures": [a.failure for a in self.attempts if a.failure],
            "transports": [a.by for a in self.attempts],
            "acked": self.answered.is_set(),
            "ack_latency": self.ack_latency,
            "answer": self.answer,
            "payload": self.payload,
        }


class Transport(Protocol):
    """Socket Mode or HTTP."""

    async def send(self, delivery: Delivery, attempt: int, reason: str | None) -> str | None:
        """Try once. None when answered in time; else why not."""

    async def wait_ready(self, seconds: float) -> None:
        """Return when a receiver exists, or after so long."""


class Courier:
    """Sends whatever happens to the app, by the transport that its settings name."""

    def __init__(
        self, world: World, settings: Settings, faults: FaultPlan, transports: dict[str, Transport]
    ) -> None:
        self._world = world
        self._settings = settings
        self._faults = faults
        self._transports = transports
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[Delivery] = []
        self.deliveries: list[Delivery] = []

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something until it ends or the sandbox stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Drop whatever is on its way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def emit(self, event: Json, channel: Channel) -> None:
        """Tell the app of an event in a channel, if its bot is in there and it subscribed."""
        installation = self._world.installation_in(channel)
        if installation is None or events.subscription(event) not in self._settings.subscriptions:
            return
        self.send_event(event, installation, channel)

    def send_event(
        self, event: Json, installation: Installation, channel: Channel | None = None
    ) -> Delivery:
        """Wrap an inner event and send it, whatever it is."""
        event_id = self._mint_event_id()
        place = event.get("channel") if channel is None else channel.id
        delivery = Delivery(
            kind="events_api",
            type=str(event.get("type")),
            payload=self._outer(event, event_id, installation, channel),
            event_id=event_id,
            channel=None if place is None else str(place),
        )
        return self.send(delivery)

    def send(self, delivery: Delivery) -> Delivery:
        """Send anything, a click or a command too, with the faults that strike it."""
        self.deliveries.append(delivery)
        if self._strike(delivery, "lose_events") is not None:
            delivery.attempts.append(Attempt(time.monotonic(), "none", "lost"))
            return delivery
        if self._strike(delivery, "lose_acks") is not None:
            delivery.deaf = 1
        delay = self._strike(delivery, "delay_events")
        wait = 0.0 if delay is None else delay.seconds()
        reorder = self._strike(delivery, "reorder_events")
        if reorder is not None:
            self._held.append(delivery)
            self.spawn(self._release(delivery, reorder.seconds(HOLD_SECONDS)))
            return delivery
        self.spawn(self._deliver(delivery, wait))
        duplicate = self._strike(delivery, "duplicate_events")
        if duplicate is not None:
            self.spawn(self._deliver(self._twin(delivery, duplicate), wait))
        held, self._held = self._held, []
        for waiting in held:
            self.spawn(self._deliver(waiting, after=delivery))
        return delivery

    async def _release(self, delivery: Delivery, seconds: float) -> None:
        """Let a held event go where nothing follows it."""
        await asyncio.sleep(seconds)
        if delivery in self._held:
            self._held.remove(delivery)
            await self._deliver(delivery)

    def _twin(self, delivery: Delivery, fault: Fault) -> Delivery:
        twin = replace(delivery, attempts=[], envelopes=[], answered=asyncio.Event(), deaf=0)
        if fault.options.get("new_id") and delivery.event_id is not None:
            twin.event_id = self._mint_event_id()
            twin.payload = {**delivery.payload, "event_id": twin.event_id}
        self.deliveries.append(twin)
        return twin

    def _mint_event_id(self) -> str:
        return f"Ev{secrets.token_hex(5).upper()}"

    def _outer(
        self, event: Json, event_id: str, installation: Installation, channel: Channel | None
    ) -> Json:
        context = {"tid": installation.team, "aid": self._world.app.id, "eid": event_id}
        encoded = base64.urlsafe_b64encode(json.dumps(context).encode()).decode().rstrip("=")
        return {
            "token": self._world.app.verification_token,
            "team_id": installation.team,
            "context_team_id": installation.team,
            "context_enterprise_id": None,
            "api_app_id": self._world.app.id,
            "event": event,
            "type": "event_callback",
            "event_id": event_id,
            "event_time": int(time.time()),
            "authorizations": [authorization(installation)],
            "is_ext_shared_channel": channel is not None and channel.ext_shared,
            "event_context": f"4-{encoded}",
        }

    def _strike(self, delivery: Delivery, kind: str) -> Fault | None:
        context = {"channel": delivery.channel or ""}
        fault = self._faults.strike(delivery.type, (kind,), context)
        if fault is None and any(f.target == "events" for f in self._faults.faults.values()):
            fault = self._faults.strike("events", (kind,), context)
        return fault

    async def _deliver(
        self, delivery: Delivery, wait: float = 0.0, after: Delivery | None = None
    ) -> None:
        if wait:
            await asyncio.sleep(wait)
        if after is not None:
            await _until_answered(after, self._settings.ack_seconds)
        retries = self._settings.retry_schedule if delivery.kind == "events_api" else ()
        failure: str | None = None
        for attempt, pause in enumerate((0.0, *retries)):
            if attempt and await self._waited_out(delivery, pause, failure):
                return
            by = self._settings.transport
            delivery.attempts.append(Attempt(time.monotonic(), by))
            failure = await self._transports[by].send(delivery, attempt, failure)
            delivery.attempts[-1].failure = failure
            if failure is None or failure == STOPPED:
                return

    async def _waited_out(self, delivery: Delivery, pause: float, failure: str | None) -> bool:
        """Wait for the next try; True where a late answer made it needless. With no receiver
        the wait ends as soon as there is one."""
        if failure == NO_RECEIVER:
            await self._transports[self._settings.transport].wait_ready(pause)
        else:
            await _until_answered(delivery, pause)
        return delivery.answered.is_set()


def authorization(installation: Installation) -> Json:
    """One entry of `authorizations`."""
    return {
        "enterprise_id": None,
        "team_id": installation.team,
        "user_id": installation.bot_user,
        "is_bot": True,
        "is_enterprise_install": False,
    }


async def _until_answered(delivery: Delivery, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await delivery.answered.wait()
    except TimeoutError:
        return
