"""Five ways a call to either platform fails, named for what to do next.

    Failure
    ├── Temporary   nothing happened; the same call may work later
    ├── Uncertain   it may have happened; find out before repeating
    ├── Rejected    it never will; tell whoever can act on it
    ├── Gone        the contact, channel or message has ended
    └── Denied      credentials or permissions; stop this side and raise the alarm

Raised only in `slack/api` and `connect/api`, judged only in `relay/deliver`. Messages name the
call and the platform's error code, never a token or what somebody wrote.
"""


class Failure(Exception):
    """A call that did not succeed. `code` is the platform's own name for it."""

    def __init__(self, call: str, code: str) -> None:
        super().__init__(f"{call}: {code}")
        self.call = call
        self.code = code


class Temporary(Failure):
    """Nothing happened. Try again, not before `retry_after` seconds where it is given."""

    def __init__(self, call: str, code: str, retry_after: float | None = None) -> None:
        super().__init__(call, code)
        self.retry_after = retry_after


class Busy(Temporary):
    """The quota of concurrently active chats is used up: waiting helps only when others end."""


class Uncertain(Failure):
    """The request went out and no answer came back (time-out, reset, `internal_error`)."""


class Rejected(Failure):
    """The request can never succeed as it is."""


class Gone(Failure):
    """What the call was about no longer exists: an ended contact, a removed channel."""


class Denied(Failure):
    """The platform refuses our credentials or permissions."""


class StoreAway(Exception):
    """Redis cannot be reached or refuses to write. After a time-out it may have written all the
    same; repeating a call of the store is harmless. `code` is Redis' own name for the refusal, or
    empty; `lasting`: it will not pass before somebody acts."""

    def __init__(self, reason: str, code: str = "", *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.lasting = lasting


class StoreReplaced(StoreAway):
    """Another Redis answers than the one our lease was renewed with, and may lack its last writes:
    nothing was done. Renew, and take back what is ours, first."""


class NotOwner(Exception):
    """Another replica owns the place now (or our lease is gone): the write was refused."""
