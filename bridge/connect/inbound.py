"""What agents say: frames and transcript reads of one contact as one stream of items.

The connection is a transport: another one (Connect's streaming to SNS) may take its place as long
as it calls `subscribed`, `heard` and `lost`.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence

from bridge.connect.api import ConnectSettings
from bridge.connect.connection import backoff
from bridge.connect.contacts import Credentials
from bridge.connect.merge import Merger
from bridge.connect.quota import Urgency
from bridge.connect.transcript import read_transcript
from bridge.connect.translate import item_of
from bridge.core.errors import Gone, Rejected, Temporary, Uncertain
from bridge.core.lookback import LookBack
from bridge.core.model import Item, ItemKind
from bridge.core.ports import ChatListener, Clock

log = logging.getLogger(__name__)

_END_GRACE = 0.5
"""Seconds that chat.ended waits for earlier items: after it no transcript can be read."""
_MAX_HELD = 1000
"""More items do not wait for a transcript that cannot be read."""


class Inbound:
    """Tells the listener each item once, in order. `on_ended` is called when chat.ended was told,
    or instead of it, where something before it was missed, that the contact is over.

    No task exists but while a gap is filled, no timer but while an item waits for earlier ones.
    """

    def __init__(
        self,
        settings: ConnectSettings,
        clock: Clock,
        credentials: Credentials,
        *,
        seen: LookBack,
        listener: ChatListener,
        on_ended: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._credentials = credentials
        self._merger = Merger(seen, settings.lookback_seconds, settings.lookback_items)
        self._listener = listener
        self._on_ended = on_ended
        self._window = settings.reorder_window_ms / 1000
        self._echo: Item | None = None
        """Our newest message that a socket told of."""
        self._fill: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False
        """chat.ended was heard and waits."""
        self._stopped = False

    async def catch_up(self) -> Sequence[Item]:
        """Read the transcript from the look-back on; new items are told, all are returned, and our
        newest one also where the transcript does not show it yet."""
        items = await self._read(Urgency.WAITING)
        self._take(items)
        echo = self._echo
        if echo is None or any(item.id == echo.id for item in items):
            return items
        return sorted([*items, echo], key=lambda item: (item.time, item.id))

    def subscribed(self, gap: bool) -> None:
        """Every frame is heard from here on: read what came before."""
        if self._fill is not None:
            self._fill.cancel()
        # A gap that an earlier socket left open is one still.
        gap = gap or self._merger.has_gap
        self._fill = asyncio.create_task(self._catch_up_after(gap))

    def lost(self) -> bool:
        """Frames may be missed from here on. Returns whether there is more to hear."""
        if self._fill is not None:
            self._fill.cancel()
        if self._ending:
            self.flush()
        self._merger.open_gap()
        return not self._stopped

    def heard(self, raw: object) -> None:
        """A chat frame came."""
        item = item_of(raw, self._credentials.participant_id)
        if item is None:
            return
        if item.own and item.kind is ItemKind.MESSAGE:
            self._echo = item
        wait = self._window
        if _ends(item):
            self._ending = True
            wait = max(wait, _END_GRACE)
        self._merger.heard(item, self._now() + wait)
        if len(self._merger) > _MAX_HELD:
            self._merger.let_go(self._now())
        self._release()

    def flush(self) -> None:
        """Tell all that waits: nothing earlier can come any more."""
        self._tell(self._merger.flush())

    def stop(self) -> None:
        """Tell nothing more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._fill is not None and self._fill is not asyncio.current_task():
            self._fill.cancel()

    async def close(self) -> None:
        """Tell nothing more, and wait until that is true."""
        self.stop()
        if self._fill is not None:
            await asyncio.gather(self._fill, return_exceptions=True)

    async def _catch_up_after(self, gap: bool) -> None:
        """Read the transcript and tell what was missed. After a gap look once more, because items
        may appear late in it."""
        try:
            await self._fill_gap(Urgency.RECONNECT if gap else Urgency.ROUTINE)
            self._listener.subscribed()
            if gap:
                await self._clock.sleep(self._settings.late_read_seconds)
                self._take(await self._read_patiently(Urgency.ROUTINE))
        except Gone:
            log.info("Contact %s is over", self._credentials.contact_id)
        finally:
            # A finished task keeps its coroutine, and there are as many as conversations.
            if self._fill is asyncio.current_task():
                self._fill = None

    async def _fill_gap(self, urgency: Urgency) -> None:
        # By itself, so that nobody holds the transcript while it waits for the second look: after an
        # outage there are as many as conversations.
        items = await self._read_patiently(urgency)
        self._merger.close_gap(self._now() + self._window)
        self._take(items)

    async def _read_patiently(self, urgency: Urgency) -> Sequence[Item]:
        failures = 0
        while True:
            try:
                return await self._read(urgency)
            except (Temporary, Uncertain) as failure:
                failures += 1
                log.info("Contact %s: %s", self._credentials.contact_id, failure)
                await self._clock.sleep(backoff(failures))
            except Rejected as failure:
                # Whatever the reason is, going on with what the sockets bring beats silence.
                log.warning(
                    "Contact %s: transcript not read: %s", self._credentials.contact_id, failure
                )
                return []

    async def _read(self, urgency: Urgency) -> list[Item]:
        return await read_transcript(self._credentials, self._merger.floor, urgency)

    def _take(self, items: Sequence[Item]) -> None:
        self._merger.read(items, self._now())
        self._release()

    def _release(self) -> None:
        self._tell(self._merger.release(self._now()))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._stopped and (due := self._merger.next_due) < math.inf:
            self._timer = asyncio.get_running_loop().call_at(due, self._release)

    def _tell(self, items: list[Item]) -> None:
        if not items or self._stopped:
            return
        ended = any(_ends(item) for item in items)
        if ended:
            items += self._merger.flush()
        self._credentials.heard(items)
        # What the gap before chat.ended hides can never be read: then nobody heard the end.
        unheard = ended and self._merger.misses
        if told := [item for item in items if not (unheard and _ends(item))]:
            self._listener.items(told)
        if ended:
            self._on_ended()
        if unheard:
            self._listener.over()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _ends(item: Item) -> bool:
    return item.kind is ItemKind.ENDED and not item.past
