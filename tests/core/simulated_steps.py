"""What a simulated process is made of: generators, each `yield` of which is an await, where
anything else can happen. One that dies is one whose generators are not resumed any more; what it
sent is in the air all the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from bridge.core.errors import Failure, Gone, Rejected, Uncertain

T = TypeVar("T")
Wait = Callable[[], bool] | None
"""Under which condition a generator can go on; None: at once."""
Steps = Generator[Wait, None, T]


@dataclass
class Time:
    """True time, which nobody can read: clocks differ from it."""

    now: float


class Until:
    """Waits for a condition, but no longer than some seconds."""

    def __init__(
        self, time: Time, seconds: float, condition: Callable[[], bool] = lambda: False
    ) -> None:
        self._time = time
        self._condition = condition
        self.at = time.now + seconds

    def __call__(self) -> bool:
        return self._time.now >= self.at or self._condition()


class Task:
    """A generator that runs by itself."""

    def __init__(self, steps: Steps[None]) -> None:
        self._steps = steps
        self._until: Wait = None
        self.cancelled = False

    @property
    def runnable(self) -> bool:
        return self.cancelled or self._until is None or self._until()

    @property
    def due(self) -> float | None:
        """When it goes on by itself, where it only sleeps."""
        return self._until.at if isinstance(self._until, Until) else None

    def step(self) -> bool:
        """Go on to the next await. False: it is over."""
        if self.cancelled:
            self._steps.close()
            return False
        try:
            self._until = next(self._steps)
        except StopIteration:
            return False
        return True

    def close(self) -> None:
        """Cancel it at once."""
        self._steps.close()


class Turns:
    """A lock: first come, first served, as asyncio's is."""

    def __init__(self) -> None:
        self._turns: deque[object] = deque()

    @property
    def locked(self) -> bool:
        return bool(self._turns)

    def ask(self) -> object:
        """Stand in line. (asyncio begins tasks in the order in which they were made.)"""
        turn = object()
        self._turns.append(turn)
        return turn

    def take(self, turn: object = None) -> Steps[None]:
        turn = turn or self.ask()
        try:
            while self._turns[0] is not turn:
                yield lambda: self._turns[0] is turn
        except GeneratorExit:
            self._turns.remove(turn)
            raise

    def leave(self) -> None:
        self._turns.popleft()


# --- requests ------------------------------------------------------------------------------------


@dataclass(eq=False)
class Request(Generic[T]):
    """A request in the air: it is carried out at some time, whoever waits for it or does not."""

    key: object
    """What it is about: the same in every try."""
    act: Callable[[], T]
    until: float
    """How late that can be."""
    outcome: list[T] = field(default_factory=list)
    failure: Failure | None = None
    done: bool = False
    """There is an answer, or will be none."""

    def lose_answer(self) -> None:
        """Whoever waits for it hears nothing; it goes on all the same."""
        self.done, self.failure = True, self.failure or Uncertain("request", "time-out")

    def carry_out(self) -> None:
        self.done = True
        try:
            self.outcome.append(self.act())
        except Failure as failure:
            self.failure = failure


class Air:
    """All requests that are in the air."""

    LONGEST = 10.0
    """Seconds: the relay's time-out of a request."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self.requests: list[Request[object]] = []

    def call(self, key: object, act: Callable[[], T]) -> Steps[T]:
        """Send a request and wait for what it comes to."""
        request = Request(key, act, self._time.now + self.LONGEST)
        self.requests.append(request)  # type: ignore[arg-type]  # only ever carried out from here
        yield lambda: request.done
        if request.failure:
            raise request.failure
        return request.outcome[0]

    def carry_out(self, request: Request[object]) -> None:
        """Let it arrive. What is refused for good is refused in every try."""
        self.requests.remove(request)
        request.carry_out()
        if isinstance(request.failure, Rejected | Gone):
            self.requests = [one for one in self.requests if one.key != request.key]

    def pass_time(self, seconds: float) -> None:
        """Nothing stays in the air for longer than it may."""
        end = self._time.now + seconds
        for request in sorted(self.requests, key=lambda one: one.until):
            if request.until <= end and request in self.requests:
                self._time.now = max(self._time.now, request.until)
                self.carry_out(request)
        self._time.now = max(self._time.now, end)


def read(act: Callable[[], T]) -> Steps[T]:
    """A request that changes nothing: what happens between its way and its answer."""
    yield None
    answer = act()
    yield None
    return answer


def insist(
    call: Callable[[], Steps[T]],
    *,
    repeatable: bool = True,
    guard: Callable[[], None] = lambda: None,
) -> Steps[T]:
    """`relay/deliver.insist`."""
    while True:
        guard()
        try:
            answer = yield from call()
        except Failure as failure:
            yield None
            if isinstance(failure, Rejected | Gone):
                raise
            if isinstance(failure, Uncertain) and not repeatable:
                raise
        else:
            yield None
            return answer
