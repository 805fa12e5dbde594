"""What can go wrong with the store, in the words of the ports, and never with what was stored."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import exceptions as redis_errors

from bridge.core.errors import StoreAway, StoreReplaced


class Unreadable(Exception):
    """A record that cannot be read: no key opens it, it is damaged, or a newer version wrote it."""


# Redis errors begin with a code. Up to Redis 6.2 an error inside a script carries it further on:
# "ERR Error running script (call to f_…): @user_script:9: -OOM command not allowed …".
_CODE = re.compile(r"(?:^|[\s-])([A-Z]{4,}|OOM)(?=\s)")

_MEANINGS = {
    "LOADING": "Redis is still loading its data",
    "READONLY": "Redis is a read-only replica, not the primary",
    "OOM": "Redis is out of memory (maxmemory)",
    "MISCONF": "Redis cannot write to its disk",
    "NOAUTH": "Redis asks for a password: none is set in REDIS_URL",
    "WRONGPASS": "Redis refuses the user or password of REDIS_URL",
    "NOPERM": "the Redis user lacks a permission that the bridge needs",
    "NOSCRIPT": "Redis forgot a script at once",
    "NOREPLICAS": "Redis has too few replicas to accept writes",
    "MASTERDOWN": "Redis is a replica that lost its primary",
    "BUSY": "Redis is busy with somebody's script",
    "REPLACED": "another Redis than before answers",
}

_LASTING = {"OOM", "MISCONF", "NOAUTH", "WRONGPASS", "NOPERM"}
"""What does not pass by itself."""

# Types that redis-py makes of errors whose code it strips from the message.
_TYPES: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.BusyLoadingError, "LOADING"),
    (redis_errors.ReadOnlyError, "READONLY"),
    (redis_errors.NoScriptError, "NOSCRIPT"),
    (redis_errors.OutOfMemoryError, "OOM"),
    (redis_errors.NoPermissionError, "NOPERM"),
    (redis_errors.MasterDownError, "MASTERDOWN"),
    (redis_errors.AuthenticationError, "WRONGPASS"),
    (redis_errors.AuthenticationWrongNumberOfArgsError, "WRONGPASS"),
)

_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.MaxConnectionsError, "all connections to Redis are in use"),
    (redis_errors.TimeoutError, "Redis does not answer in time"),
    (redis_errors.ConnectionError, "Redis cannot be reached"),
    (OSError, "Redis cannot be reached"),
)


def describe(error: BaseException) -> StoreAway:
    """What a failure means. The error's own text is not repeated: it may quote arguments."""
    if isinstance(error.__cause__, redis_errors.RedisError):
        # What fails while a connection is made comes wrapped in a plain ConnectionError.
        return describe(error.__cause__)
    code = _code(error)
    if code == "REPLACED":
        return StoreReplaced(_MEANINGS[code], code)
    if code:
        return StoreAway(_MEANINGS[code], code, lasting=code in _LASTING)
    unknown = f"Redis refuses a command ({type(error).__name__})"
    return StoreAway(next((words for kind, words in _WORDS if isinstance(error, kind)), unknown))


def _code(error: BaseException) -> str:
    for code in _CODE.findall(str(error)):
        if code in _MEANINGS:
            return str(code)
    if isinstance(error, redis_errors.AuthenticationError) and "HELLO" in str(error):
        return "NOAUTH"
    return next((code for kind, code in _TYPES if isinstance(error, kind)), "")


@contextmanager
def translated() -> Iterator[None]:
    """Turn every failure of Redis into StoreAway. Whether the call took effect is then unknown."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    except (redis_errors.RedisError, OSError) as error:
        _obey(task, before)
        # `from None`: the cause's text may quote what was being stored.
        raise describe(error) from None
    _obey(task, before)


def _obey(task: asyncio.Task[Any] | None, before: int) -> None:
    """redis-py writes under asyncio.wait_for, which until Python 3.12 forgets that it was cancelled
    where the write ends at that moment: a task that is to stop would go on for ever."""
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
