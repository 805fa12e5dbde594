"""What the customer says: messages, and the small signs (typing, delivered)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

from bridge.connect.contacts import Credentials
from bridge.connect.quota import Quotas, Urgency
from bridge.connect.refusals import Forbidden
from bridge.connect.translate import EVENT, PLAIN, unix_seconds
from bridge.core.errors import Failure, Gone, Rejected, Uncertain
from bridge.core.model import Sent
from bridge.core.ports import Clock

log = logging.getLogger(__name__)

_TYPING_SECONDS = 10.0
_RECEIPT_SECONDS = 5.0
_CONFLICT = "ConflictException"


class Outbound:
    """Sends as one contact's customer. Pace of the signs: that of AWS's own clients."""

    def __init__(self, quotas: Quotas, clock: Clock, credentials: Credentials) -> None:
        self._quotas = quotas
        self._clock = clock
        self._credentials = credentials
        self._typed_at = float("-inf")
        self._receipt = ""
        """The newest item whose receipt is still to go out."""
        self._receipts = True
        self._flusher: asyncio.Task[None] | None = None
        self._typist: asyncio.Task[None] | None = None
        self._stopped = False

    async def send(self, text: str, client_token: str, guard: Callable[[], None]) -> Sent:
        """SendMessage; returns the item that it became. `guard` comes last before the request."""
        answer = await self._credentials.call(
            "SendMessage",
            {"ContentType": PLAIN, "Content": text, "ClientToken": client_token},
            guard=guard,
        )
        item_id = answer.get("Id")
        if not isinstance(item_id, str) or not item_id:
            raise Uncertain("SendMessage", "NoId")
        return Sent(item_id, unix_seconds(answer.get("AbsoluteTime")))

    async def end(self, client_token: str) -> None:
        """DisconnectParticipant; a contact that is over already is as good."""
        try:
            await self._credentials.call("DisconnectParticipant", {"ClientToken": client_token})
        except Gone:
            log.info("Contact %s was over", self._credentials.contact_id)

    def typing(self) -> None:
        """Show that more is coming, at most every 10 seconds."""
        now = self._clock.boottime()
        if self._stopped or now - self._typed_at < _TYPING_SECONDS:
            return
        if self._short:
            return
        self._typed_at = now
        self._typist = asyncio.create_task(self._sign("typing"))

    def delivered(self, item_id: str) -> None:
        """Tell that an item reached the customer: the newest only, at most every 5 seconds."""
        if self._stopped or not self._receipts:
            return
        self._receipt = item_id
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())

    def stop(self) -> None:
        """Send no more signs: after the end they would only be refused."""
        self._stopped = True
        for task in (self._typist, self._flusher):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    async def close(self) -> None:
        """Send no more signs, and wait until that is true."""
        self.stop()
        tasks = [task for task in (self._typist, self._flusher) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _short(self) -> bool:
        """Whether signs would be in anybody's way. AWS does not say that messages and events have
        quotas of their own, so both have to have room."""
        return not (self._quotas["SendEvent"].idle and self._quotas["SendMessage"].idle)

    async def _flush(self) -> None:
        while self._receipt and self._receipts:
            if self._short:
                await self._clock.sleep(_RECEIPT_SECONDS)
                continue
            item_id, self._receipt = self._receipt, ""
            await self._sign("message.delivered", json.dumps({"messageId": item_id}))
            await self._clock.sleep(_RECEIPT_SECONDS)

    async def _sign(self, event: str, content: str | None = None) -> None:
        body = {"ContentType": EVENT + event}
        if content is not None:
            body["Content"] = content
        try:
            await self._credentials.call_once("SendEvent", body, Urgency.ROUTINE)
        except Rejected as refusal:
            # Receipts are unsupported among more than two (SendEvent, ConflictException).
            self._receipts = self._receipts and refusal.code != _CONFLICT
        except (Failure, Forbidden):
            log.debug("Contact %s: %s was not told", self._credentials.contact_id, event)
