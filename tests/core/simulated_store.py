"""One conversation in Redis, and who may write it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from bridge.core.errors import NotOwner
from bridge.core.events import Incoming
from bridge.core.model import Conversation, ConversationId, Mark, Place
from bridge.core.ports import Accepted, Intake, Kept, Renewal

LEASE = 30.0


class SimStore:
    """Every method is one script of `bridge/store/scripts`; `me` is the caller's incarnation."""

    def __init__(self, conversation: ConversationId, time: Callable[[], float]) -> None:
        self.id = conversation
        self.ahead = 0.0
        """How much Redis' clock is ahead: leases and marks live by it."""
        self.state: Conversation | None = None
        self.mark: Mark | None = None
        self.marked_at = 0.0
        """By true time."""
        self.lane: dict[str, Incoming] = {}
        self.owner = ""
        self.leases: dict[str, float] = {}
        """Until when, by Redis' clock."""
        self.cut_short: set[str] = set()
        """Whose lease ended before its time: they cannot know."""
        self.published: list[tuple[str, Incoming]] = []
        """Events on their way to the owner, and whom they were meant for."""
        self._time = time
        self._keys: set[str] = set()

    def now(self) -> float:
        return self._time() + self.ahead

    # --- ownership -------------------------------------------------------------------------------

    def alive(self, incarnation: str) -> bool:
        if self.leases.get(incarnation, float("-inf")) <= self.now():
            # Gone for good: a clock that goes back brings no key back.
            self.leases.pop(incarnation, None)
        return incarnation in self.leases

    def mine(self, me: str) -> bool:
        return self.owner == me and self.alive(me)

    @property
    def busy(self) -> bool:
        """Whether there is anything to own it for."""
        return bool(self.lane) or (self.state is not None and self.state.active)

    def renew(self, me: str, *, begin: bool) -> Renewal:
        held = self.alive(me)
        if held or begin:
            self.leases[me] = self.now() + LEASE
            self.cut_short.discard(me)
        told = bool(self.lane) and self.owner == me
        return Renewal(
            held, dict.fromkeys(self._places(), len(self.lane)) if told else {}, self.now()
        )

    def lose_lease(self, me: str) -> None:
        """As a Redis does that lost its last writes."""
        self.leases.pop(me, None)
        self.cut_short.add(me)

    def set_clock(self, seconds: float) -> None:
        """Forwards, leases end early."""
        self.ahead += seconds
        if seconds > 0.0:
            self.cut_short |= set(self.leases)

    def check_entitled(self, me: str) -> None:
        """Nobody writes to the platforms for a place whose lease is over, as far as one can know."""
        assert self.alive(me) or me in self.cut_short, f"{me} writes without a lease"

    def check_marked(self, ids: Collection[str], seconds: float) -> None:
        """A post is written soon after its mark, or whoever finds that looks too early."""
        age = self._time() - self.marked_at
        assert age <= seconds, f"{ids} marked {age} s ago"

    def claim(self, me: str) -> tuple[Place, ...]:
        ownerless = self.owner not in ("", me) and not self.alive(self.owner)
        if not self.alive(me) or not ownerless:
            return ()
        self.owner = me if self.busy else ""
        return self._places() if self.busy else ()

    def release(self, me: str) -> None:
        self.leases.pop(me, None)

    def _places(self) -> tuple[Place, ...]:
        return (self.id.place,)

    def _check(self, me: str) -> None:
        if not self.mine(me):
            raise NotOwner(f"{me} writes, {self.owner} owns")

    # --- the way of an event ---------------------------------------------------------------------

    def accept(self, me: str, incoming: Incoming) -> Accepted:
        if self._keys & set(incoming.keys):
            self._keys |= set(incoming.keys)
            return Accepted(Intake.REPEAT, self.mine(me), taken=False)
        if not incoming.opens and not self.lane and self.state is None:
            return Accepted(Intake.STRANGER, self.mine(me), taken=False)
        self._keys |= set(incoming.keys)
        self.lane[incoming.id] = incoming
        taken = self.owner != me and not self.alive(self.owner)
        if taken:
            self.owner = me
        elif self.owner != me:
            self.published.append((self.owner, incoming))
        return Accepted(Intake.STORED, self.mine(me), taken)

    def settle(
        self, me: str, conversation: Conversation, done: Sequence[str], *, unmark: bool
    ) -> None:
        self._check(me)
        self.state = conversation
        self._remove(done)
        if unmark:
            self.mark = None

    def set_mark(self, me: str, ids: Collection[str], since: str) -> Mark:
        self._check(me)
        self.mark = Mark(tuple(ids), self.now(), since)
        self.marked_at = self._time()
        return self.mark

    def forget(self, me: str, done: Sequence[str]) -> None:
        self._check(me)
        self._remove(done)
        if not self.lane:
            self.state, self.mark = None, None

    def _remove(self, done: Sequence[str]) -> None:
        for event_id in done:
            self.lane.pop(event_id, None)

    def load(self) -> Kept:
        return Kept(self.state or Conversation(self.id), self.mark, tuple(self.lane.values()))
