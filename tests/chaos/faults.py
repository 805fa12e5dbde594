"""How each kind of fault is carried out, and how often each struck."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import redis.asyncio
from redis.exceptions import RedisError

from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.errors import DeskError
from bridge.sandbox.faults import FaultPlan
from tests.chaos.plan import Options, Order
from tests.chaos.world import Replica, World

WITHIN_THE_WINDOW = 0.04
"""How long a frame is held at most so that the next overtakes it: below BRIDGE_REORDER_WINDOW_MS."""
SHORT_SOCKET = 33.0
"""A connection of so many seconds is replaced by a second one beside it at 30."""

SLACK: Mapping[str, Mapping[str, Any]] = {
    "Slack event duplicated": {"kind": "duplicate_events", "target": "message"},
    "Slack event duplicated under a new id": {
        "kind": "duplicate_events",
        "target": "message",
        "new_id": True,
    },
    "Slack event delayed": {"kind": "delay_events", "target": "message"},
    "Slack events reordered": {"kind": "reorder_events", "target": "message"},
    "Slack acknowledgement lost": {"kind": "lose_acks", "target": "message"},
    "Slack post not answered": {"kind": "no_answer", "target": "chat.postMessage"},
    "Slack post done, internal_error": {
        "kind": "internal_error_done",
        "target": "chat.postMessage",
    },
    "Slack post answered in half": {"kind": "truncate", "target": "chat.postMessage"},
    "Slack post dropped": {"kind": "drop", "target": "chat.postMessage"},
    "Slack post late": {"kind": "delay", "target": "chat.postMessage"},
    "Slack post 500": {"kind": "error", "target": "chat.postMessage"},
    "Slack 429 storm": {"kind": "throttle", "target": "chat.postMessage", "retry_after": 1},
    "Slack read 429": {"kind": "throttle", "target": "conversations.replies", "retry_after": 1},
    "Slack read 500": {"kind": "error", "target": "conversations.replies"},
}
CONNECT: Mapping[str, Mapping[str, Any]] = {
    "SendMessage not answered": {"kind": "no_answer", "target": "SendMessage"},
    "SendMessage dropped": {"kind": "drop", "target": "SendMessage"},
    "SendMessage late": {"kind": "delay", "target": "SendMessage"},
    "SendMessage 500": {"kind": "error", "target": "SendMessage"},
    "Connect 429 storm": {"kind": "throttle", "target": "*"},
    "StartChatContact not answered": {"kind": "no_answer", "target": "StartChatContact"},
    "StartChatContact 500": {"kind": "error", "target": "StartChatContact"},
    "CreateParticipantConnection not answered": {
        "kind": "no_answer",
        "target": "CreateParticipantConnection",
    },
    "GetTranscript 500": {"kind": "error", "target": "GetTranscript"},
    "Connect socket silent": {"kind": "silent", "target": "socket"},
    "Connect frame duplicated": {"kind": "duplicate_frames", "target": "socket"},
    "Connect frames reordered": {
        "kind": "reorder_frames",
        "target": "socket",
        "seconds": WITHIN_THE_WINDOW,
    },
    "Connect item late in the transcript": {"kind": "late_transcript", "target": "socket"},
}
"""Faults that the stand-ins have; they are counted when they strike."""


class Faults:
    """Carries a plan out."""

    def __init__(self, world: World, client: redis.asyncio.Redis) -> None:
        self._world = world
        self._redis = client
        self._chances = random.Random(f"faults {world.plan.seed}")
        self._kinds: dict[tuple[str, str], str] = {}
        """What a fault of a stand-in was ordered as, by side and id."""
        self._trials: Mapping[str, Callable[[Options], Awaitable[None]]] = {
            "kill -9": self._kill,
            "SIGTERM": self._terminate,
            "SIGSTOP": self._freeze,
            "all replicas down": self._outage,
            "Redis restarted": self._redis_restart,
            "Redis stopped": self._redis_stop,
            "Redis paused": self._redis_pause,
        }
        self._troubles: Mapping[str, Callable[[Options], Awaitable[None]]] = {
            "Slack socket dropped": self._slack_drop,
            "Slack socket silent": self._slack_silent,
            "Slack socket refreshed": self._slack_refresh,
            "client tokens forgotten": self._forget,
            "connection tokens expired": self._expire,
            "Connect socket dropped": self._connect_drop,
            "Connect socket doubled": self._connect_double,
            "chat transferred": lambda options: self._transfer(options, "Otto"),
            "chat transferred to the queue": lambda options: self._transfer(options, None),
        }

    async def run(self) -> None:
        """Everything that the plan orders, each at its time."""
        began = asyncio.get_running_loop().time()
        troubles = asyncio.create_task(self._all_troubles(began))
        try:
            for order in self._world.plan.trials:
                await asyncio.sleep(max(began + order.at - asyncio.get_running_loop().time(), 0))
                self._world.timeline.note(f"{order.kind} {dict(order.options)}")
                await self._trials[order.kind](order.options)
                self._world.strike(order.kind)
                self._world.timeline.note(f"{order.kind} is over")
            await troubles
        finally:
            troubles.cancel()
            await asyncio.gather(troubles, return_exceptions=True)

    async def _all_troubles(self, began: float) -> None:
        async with asyncio.TaskGroup() as group:
            for order in self._world.plan.troubles:
                await asyncio.sleep(max(began + order.at - asyncio.get_running_loop().time(), 0))
                self._world.timeline.note(f"{order.kind} {dict(order.options)}")
                group.create_task(self._trouble(order))

    async def _trouble(self, order: Order) -> None:
        if fault := SLACK.get(order.kind):
            self._add("slack", self._world.pair.slack.faults, order, fault)
        elif fault := CONNECT.get(order.kind):
            self._add("connect", self._world.pair.connect.world.faults, order, fault)
        else:
            await self._troubles[order.kind](order.options)

    def _add(self, side: str, plan: FaultPlan, order: Order, fault: Mapping[str, Any]) -> None:
        added = plan.add({**fault, **order.options})
        self._kinds[side, added.id] = order.kind

    def heal(self) -> None:
        """Switch off what is still on, and count what struck."""
        for side, plan in (
            ("slack", self._world.pair.slack.faults),
            ("connect", self._world.pair.connect.world.faults),
        ):
            plan.remove()
            for strike in plan.log:
                if kind := self._kinds.get((side, strike["id"])):
                    self._world.strike(kind)
        self._world.timeline.note("all faults are off")

    # --- processes -------------------------------------------------------------------------------

    def _replica(self, options: Options) -> Replica:
        return self._world.replicas[int(options["replica"])]

    async def _kill(self, options: Options) -> None:
        replica = self._replica(options)
        replica.send(signal.SIGKILL)
        await replica.ended(5.0)
        self._world.timeline.note(f"killed {replica.name}")
        await asyncio.sleep(options["seconds"])
        await self._world.start(replica)

    async def _terminate(self, options: Options) -> None:
        replica = self._replica(options)
        replica.send(signal.SIGTERM)
        self._world.timeline.note(f"terminated {replica.name}")
        code = await replica.ended(25.0)
        self._world.timeline.note(f"{replica.name} exited with {code}")
        if code is None:
            replica.send(signal.SIGKILL)
            await replica.ended(5.0)
        if code != 0:
            self._world.strike("SIGTERM without exit 0")
        await asyncio.sleep(options["seconds"])
        await self._world.start(replica)

    async def _freeze(self, options: Options) -> None:
        replica = self._replica(options)
        replica.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(options["seconds"])
        finally:
            replica.send(signal.SIGCONT)

    async def _outage(self, options: Options) -> None:
        world = self._world
        for replica in world.replicas:
            replica.send(signal.SIGKILL)
        for replica in world.replicas:
            await replica.ended(5.0)
        world.timeline.note("nobody is up")
        await asyncio.sleep(options["seconds"] / 2)
        for chat in self._some(int(options["ended"])):
            world.timeline.note(f"chat {chat.id} ends")
            chat.end("AGENT_DISCONNECT")
            world.strike("chat ended while the bridge was down")
        await asyncio.sleep(options["seconds"] / 2)
        await asyncio.gather(*(world.start(replica) for replica in world.replicas))

    async def _redis_restart(self, options: Options) -> None:
        self._world.redis.kill()
        await asyncio.sleep(options["seconds"])
        self._world.redis.start()

    async def _redis_stop(self, options: Options) -> None:
        self._world.redis.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(options["seconds"])
        finally:
            self._world.redis.send(signal.SIGCONT)

    async def _redis_pause(self, options: Options) -> None:
        try:
            await self._redis.client_pause(round(options["seconds"] * 1000))
        except RedisError as error:
            self._world.timeline.note(f"not paused: {type(error).__name__}")
        await asyncio.sleep(options["seconds"])

    # --- Slack's sockets ---------------------------------------------------------------------------

    async def _slack_drop(self, options: Options) -> None:
        dropped = self._world.pair.slack.sockets.drop(int(options["times"]))
        self._world.strike("Slack socket dropped", dropped)

    async def _slack_silent(self, options: Options) -> None:
        """It says nothing for a while, then it breaks: the SDK's own patience is not scaled, Slack's
        retries are."""
        sockets = self._world.pair.slack.sockets.sockets
        if not sockets:
            return
        socket = self._chances.choice(sockets)
        socket.silent = True
        self._world.strike("Slack socket silent")
        await asyncio.sleep(options["seconds"])
        if socket.transport is not None:
            socket.transport.abort()

    async def _slack_refresh(self, options: Options) -> None:
        told = await self._world.pair.slack.sockets.disconnect(
            "refresh_requested", int(options["times"])
        )
        self._world.strike("Slack socket refreshed", told)

    # --- Connect -----------------------------------------------------------------------------------

    def _some(self, count: int, state: str = "connected") -> list[Chat]:
        chats = [chat for chat in self._world.pair.connect.world.chats if chat.state == state]
        return self._chances.sample(chats, min(count, len(chats)))

    async def _forget(self, _options: Options) -> None:
        self._world.pair.connect.world.client_tokens.forget()
        self._world.strike("client tokens forgotten")

    async def _expire(self, options: Options) -> None:
        tokens = self._world.pair.connect.world.tokens
        for chat in self._some(int(options["times"])):
            self._world.strike(
                "connection tokens expired", min(tokens.expire("connection_token", chat.id), 1)
            )

    async def _connect_drop(self, options: Options) -> None:
        hub = self._world.pair.connect._hub
        for chat in self._some(int(options["times"])):
            self._world.strike("Connect socket dropped", hub.drop(chat))

    async def _connect_double(self, options: Options) -> None:
        """Sockets that are opened now live short, so that a second stands beside each at its end."""
        settings = self._world.pair.connect.world.settings
        whole = settings.socket_seconds
        settings.socket_seconds = SHORT_SOCKET
        try:
            for chat in self._some(int(options["times"])):
                self._world.strike(
                    "Connect socket doubled", self._world.pair.connect._hub.drop(chat)
                )
            await asyncio.sleep(3.0)
        finally:
            settings.socket_seconds = max(whole, settings.socket_seconds)

    async def _transfer(self, options: Options, to: str | None) -> None:
        kind = "chat transferred" if to else "chat transferred to the queue"
        for chat in self._some(int(options["times"])):
            try:
                chat.transfer(to)
            except DeskError:
                continue
            self._world.strike(kind)
