"""A world for the relay: both platforms, one Redis, and replicas that live and die in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bridge.core.errors import Uncertain
from bridge.core.events import Incoming
from bridge.core.model import Conversation, ConversationId, Phase, Policy
from bridge.core.ports import Kept
from bridge.relay.clock import StoppableClock
from bridge.relay.kit import Kit, Timing
from bridge.relay.lane import Lane
from bridge.relay.lease import Lease
from bridge.relay.pace import Pace
from bridge.relay.worker import Worker
from tests.relay.connect import FakeConnect
from tests.relay.fakes import FakeCustomer
from tests.relay.lifeline import Lifeline
from tests.relay.virtual import FakeClock, redis_lives_by, until
from tests.store.support import Backend, fake_backend

LEASE = 30.0


class Replica:
    """One process of the service, without its edges."""

    def __init__(
        self, world: World, name: str, policy: Policy, timing: Timing, lifeline: Lifeline
    ) -> None:
        self.name = name
        self.lifeline = lifeline
        self.redis = world.backend.store(name, lease_seconds=LEASE, places=world.places)
        self.pauses = StoppableClock(world.clock)
        self.lease = Lease(world.clock, LEASE)
        self.kit = Kit(
            store=lifeline.store(self.redis),
            customer=lifeline.customer(world.customer),
            agent=lifeline.agent(world.connect),
            clock=self.pauses,
            policy=policy,
            pace=Pace(self.pauses),
            guard=self.lease.guard,
            redis_now=self.lease.redis_now,
            timing=timing,
        )
        self.worker = Worker(self.kit, self.lease, world.clock, lifeline.history(world.customer))
        self._life = asyncio.create_task(self._live())

    async def _live(self) -> None:
        await self.worker.start()
        await self.worker.run()

    def lane(self, conversation: ConversationId) -> Lane:
        return self.worker.lanes[conversation]

    def has(self, conversation: ConversationId) -> Conversation:
        """The state in memory."""
        return self.lane(conversation).conversation

    async def stop(self, grace: float = 10.0) -> None:
        """As SIGTERM does."""
        await self.worker.stop(grace, self.pauses.stop)
        await self._gone()

    async def kill(self) -> None:
        """As kill -9 does: no call gets through any more."""
        self.lifeline.bury()
        self.worker._background.stopping = True
        for lane in list(self.worker.lanes.values()):
            await lane.abandon()
        tasks = [*self.worker._loops, *self.worker._background.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._gone()

    async def _gone(self) -> None:
        self._life.cancel()
        await asyncio.gather(self._life, return_exceptions=True)


class World:
    """Slack, Connect, Redis, and the replicas in the order of their births."""

    def __init__(self, backend: Backend, redis_clock: FakeClock) -> None:
        self.clock = FakeClock()
        """The replicas' own; every other party has another one."""
        self.redis_clock = redis_clock
        self.backend = backend
        self.customer = FakeCustomer(FakeClock())
        self.connect = FakeConnect(FakeClock())
        self.replicas: list[Replica] = []
        self.places = 1000
        """How many a new replica may own."""
        self.reached: Callable[[], Replica] = lambda: self.replicas[-1]
        """Which replica Slack talks to."""

    async def replica(
        self,
        policy: Policy | None = None,
        timing: Timing | None = None,
        lifeline: Lifeline | None = None,
    ) -> Replica:
        """A new one; returns when its lease has begun, or never will."""
        replica = Replica(
            self,
            f"replica-{len(self.replicas) + 1}",
            policy or Policy(),
            timing or Timing(),
            lifeline or Lifeline(),
        )
        replica.lifeline.postpone = self._postpone
        self.replicas.append(replica)
        await until(lambda: replica.lease.held or replica.lifeline.cut.is_set())
        return replica

    async def expel(self, dead: Replica) -> None:
        """End its lease, as a service does that has its Redis to itself."""
        await self.backend.client().delete(f"t:lease:{dead.name}")

    def _postpone(self, name: str, seconds: float) -> bool:
        port, _, call = name.partition(".")
        faults = {"slack": self.customer.faults, "connect": self.connect.faults}
        late = {**faults, "chat": self.connect.faults}.get(port)
        if late is not None:
            late.next(call, Uncertain(name, "nobody waits"), late=seconds)
        return late is not None

    async def deliver(self, *events: Incoming) -> None:
        """As Slack does: again and again, until somebody acknowledges. In order."""
        for incoming in events:
            while not await self._acknowledged(incoming, self.reached()):
                await asyncio.sleep(1.0)

    async def _acknowledged(self, incoming: Incoming, replica: Replica) -> bool:
        taking = asyncio.create_task(replica.worker.accept(incoming))
        dying = asyncio.create_task(replica.lifeline.cut.wait())
        await asyncio.wait({taking, dying}, return_when=asyncio.FIRST_COMPLETED)
        dying.cancel()
        if not taking.done():
            taking.cancel()
            return False
        return not taking.cancelled() and taking.exception() is None

    async def kept(self, conversation: ConversationId) -> Kept:
        """What Redis holds of it."""
        return await self.backend.store("reader").load(conversation)

    async def settled(self, conversation: ConversationId, phase: Phase | None = None) -> Kept:
        """The same, when nothing waits, nothing is owed and nothing is in the air."""
        async with asyncio.timeout(900.0):
            while True:
                kept = await self.kept(conversation)
                unsettled = kept.lane or kept.mark or kept.conversation.owed
                if not unsettled and phase in (None, kept.conversation.phase):
                    return kept
                await asyncio.sleep(1.0)

    async def opened(self, *texts: str, user: str = "U1", channel: str = "C1") -> ConversationId:
        """A conversation that is open, in which these were written and arrived."""
        root = self.customer.opens(texts[0], user, channel)
        await self.deliver(root)
        for text in texts[1:]:
            await self.deliver(self.customer.replies(root.conversation, text, user))
        await until(lambda: self.connect.hears(texts[-1]))
        await self.settled(root.conversation)
        return root.conversation


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    redis_clock = FakeClock()
    with redis_lives_by(redis_clock):
        async with fake_backend() as backend:
            world = World(backend, redis_clock)
            yield world
            for replica in world.replicas:
                await replica.kill()
            assert world.customer.faults.crossed == world.connect.faults.crossed == []
