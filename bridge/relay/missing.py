"""Events that are stored for lanes and of which nobody told us."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from bridge.core.model import Place
from bridge.core.ports import Kept
from bridge.relay.deliver import store_insist
from bridge.relay.kit import Kit
from bridge.relay.lane import Lane


def find(kit: Kit, lanes: Sequence[Lane], place: Place) -> Coroutine[Any, Any, None]:
    """Read them, and give them to these lanes of one place. From now on until that is done none of
    the lanes sends anything: all goes in order."""
    for lane in lanes:
        lane.missing += 1
    return _find(kit, lanes, place)


async def _find(kit: Kit, lanes: Sequence[Lane], place: Place) -> None:
    async def read() -> Sequence[Kept]:
        if len(lanes) > 1:
            return await kit.store.load_place(place)
        return [await kit.store.load(lane.conversation.id) for lane in lanes]

    try:
        found = {kept.conversation.id: kept for kept in await store_insist(read, kit.clock)}
        for lane in lanes:
            kept = found.get(lane.conversation.id)
            for incoming in kept.lane if kept and kept.mine else ():
                lane.add(incoming)
    finally:
        for lane in lanes:
            lane.searched()
