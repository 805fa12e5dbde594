"""The line before Connect's chats, without a conversation."""

from __future__ import annotations

import asyncio

import pytest

from bridge.core.errors import Busy, Temporary
from bridge.relay.line import ABREAST, Line, Since


class Desk:
    """So many chats are free; each start takes one, and a second."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.tries = 0
        self.most = 0
        self._now = 0

    async def start(self) -> None:
        self.tries += 1
        self._now += 1
        self.most = max(self.most, self._now)
        await asyncio.sleep(1.0)
        self._now -= 1
        if not self.free:
            raise Busy("StartChatContact", "LimitExceededException")
        self.free -= 1


class Queue:
    """People in a line."""

    def __init__(self, free: int) -> None:
        self.desk = Desk(free)
        self.line = Line()
        self.served: list[int] = []
        self.told: list[int] = []

    def join(self, number: int, seconds: float = 10_000.0) -> asyncio.Task[None]:
        until = asyncio.get_running_loop().time() + seconds

        async def one() -> None:
            since: Since = ((number, 0), str(number))
            await self.line.served(since, self.desk.start, until, lambda: self.told.append(number))
            self.served.append(number)

        return asyncio.create_task(one())


async def test_nobody_waits_where_there_is_room() -> None:
    queue = Queue(free=100)
    await asyncio.gather(*(queue.join(number) for number in range(20)))
    assert sorted(queue.served) == list(range(20))
    assert queue.desk.most == ABREAST
    assert queue.told == []
    assert asyncio.get_running_loop().time() == 3.0


async def test_only_the_first_tries_while_all_are_taken() -> None:
    queue = Queue(free=0)
    joined = [queue.join(number) for number in range(30)]
    await asyncio.sleep(1000.0)
    assert queue.served == []
    assert set(queue.told) == set(range(30))
    assert queue.desk.tries < ABREAST + 60
    tries, queue.desk.free = queue.desk.tries, 5
    await asyncio.sleep(60.0)
    assert queue.served == [0, 1, 2, 3, 4]
    assert queue.desk.tries <= tries + 5 + 3
    for one in joined:
        one.cancel()


async def test_who_came_before_goes_before_who_came_to_the_line_before() -> None:
    queue = Queue(free=0)
    joined = [queue.join(number) for number in (5, 7)]
    await asyncio.sleep(5.0)
    joined += [queue.join(number) for number in (6, 1)]
    queue.desk.free = 3
    await asyncio.sleep(60.0)
    assert queue.served == [1, 5, 6]
    for one in joined:
        one.cancel()


async def test_patience_ends() -> None:
    queue = Queue(free=0)
    first, second = queue.join(1, 100.0), queue.join(2, 50.0)
    await asyncio.sleep(200.0)
    for one in (first, second):
        with pytest.raises(Busy):
            one.result()


async def test_who_leaves_does_not_hold_up_the_others() -> None:
    queue = Queue(free=0)
    leaver, stayer = queue.join(1), queue.join(2)
    await asyncio.sleep(21.0)
    leaver.cancel()
    queue.desk.free = 1
    await stayer
    assert queue.served == [2]


async def test_who_leaves_with_the_turn_in_hand_passes_it_on() -> None:
    queue = Queue(free=10_000)
    for _ in range(2 * ABREAST):
        joined = queue.join(1)
        await asyncio.sleep(0)
        joined.cancel()
        await asyncio.gather(joined, return_exceptions=True)
    await asyncio.wait_for(queue.join(2), 10.0)


async def test_a_newcomer_after_the_rush_is_told_nothing() -> None:
    queue = Queue(free=0)
    leaver = queue.join(1)
    await asyncio.sleep(5.0)
    leaver.cancel()
    await asyncio.sleep(60.0)
    queue.desk.free = 1
    await queue.join(2)
    assert 2 not in queue.told


async def test_another_failure_is_the_callers_business() -> None:
    line = Line()

    async def fails() -> None:
        raise Temporary("StartChatContact", "InternalServiceException")

    for _ in range(2 * ABREAST):
        with pytest.raises(Temporary):
            await line.served(((1, 0), "1"), fails, 1000.0, lambda: None)
