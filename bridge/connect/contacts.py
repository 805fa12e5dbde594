"""Contacts: how one is started, and the credentials of its customer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.connect.api import ConnectApi, ConnectSettings
from bridge.connect.judge import Judge
from bridge.connect.quota import Urgency
from bridge.connect.refusals import Forbidden
from bridge.connect.translate import unix_seconds
from bridge.core.errors import Denied, Gone, Rejected, Uncertain
from bridge.core.model import Contact, Item, Started
from bridge.core.ports import Clock
from bridge.guarded import Guard

log = logging.getLogger(__name__)

_FRESH_REFUSED = 2
"""One can expire, or be expired, while it is on its way; Connect still gives new ones then."""
_RENEW_BEFORE = 60.0
"""Seconds before its expiry that a connection token is renewed, as Connect's own client does."""
_KEEP_FROM = 12 * 3600.0
"""Seconds before its expiry that a stored connection token gives way to a newer one."""
_MOST_TRANSFERS = 20
_CONNECT = "CreateParticipantConnection"


class Contacts:
    """Starts contacts, and finds out about their ends."""

    def __init__(self, api: ConnectApi, settings: ConnectSettings) -> None:
        self._api = api
        self._settings = settings
        self._connection_types = True
        """Until the service refuses the member, which an older one does not know."""

    async def start(self, request: str) -> Started:
        """StartChatContact with what `compose` wrote. Its ClientToken makes repeats harmless
        (except behind a start-chat URL that does not pass it on: a contact that nobody connects
        to ends after 5 minutes)."""
        body = json.loads(request)
        if self._settings.start_chat_url:
            return _started(await self._api.start_by_url(body))
        if not self._connection_types:
            body.pop("ConnectionTypes", None)
        try:
            return _started(await self._start(body))
        except Rejected:
            if body.pop("ConnectionTypes", None) is None:
                raise
        started = _started(await self._start(body))
        self._connection_types = False
        log.info("This service does not know ConnectionTypes: they are left out from now on")
        return started

    async def _start(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = await self._api.control(
            "StartChatContact", "start_chat_contact", body
        )
        return answer

    async def is_over(self, contact_id: str) -> bool:
        """Whether Connect's record says so. Raises Failure: also Gone, because records are kept for
        two years (Administrator Guide), so that a missing one tells of a wrong instance or Region.

        A transfer ends one contact of a chat and begins the next one, which is followed where it
        is named.
        """
        if not self._settings.instance_id:
            raise Denied("DescribeContact", "NoInstanceId")
        for _ in range(_MOST_TRANSFERS):
            answer = await self._api.control(
                "DescribeContact",
                "describe_contact",
                {"InstanceId": self._settings.instance_id, "ContactId": contact_id},
            )
            contact = answer.get("Contact")
            if not isinstance(contact, dict):
                raise Uncertain("DescribeContact", "UnreadableAnswer")
            if contact.get("DisconnectTimestamp") is None:
                return False
            following = _next_contact(contact)
            if not following:
                return True
            contact_id = following
        return False


def _next_contact(contact: Mapping[str, Any]) -> str:
    for following in contact.get("NextContacts", ()):
        data = following.get("NextContactMetadata", {}).get("QuickConnectContactData", {})
        if contact_id := _text(data, "ContactId"):
            return contact_id
    return ""


def _started(answer: Mapping[str, Any]) -> Started:
    connection = Connection.of(answer)
    contact = Contact(
        contact_id=_text(answer, "ContactId"),
        participant_id=_text(answer, "ParticipantId"),
        participant_token=_text(answer, "ParticipantToken"),
        connection_token=connection.token,
        connection_expiry=connection.token_expiry,
    )
    if not (contact.contact_id and contact.participant_id and contact.participant_token):
        raise Uncertain("StartChatContact", "UnreadableAnswer")
    return Started(contact, connection.url, connection.url_expiry)


@dataclass(frozen=True, slots=True)
class Connection:
    """What CreateParticipantConnection gives: a connection token, and a URL that may be opened
    once within 100 seconds. Times are Unix seconds, 0 where unknown."""

    token: str = field(repr=False)
    token_expiry: float
    url: str = field(repr=False)
    url_expiry: float

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Connection:
        """Read both parts; one that is missing is empty."""
        credentials, socket = answer.get("ConnectionCredentials"), answer.get("Websocket")
        credentials = credentials if isinstance(credentials, dict) else {}
        socket = socket if isinstance(socket, dict) else {}
        return cls(
            token=_text(credentials, "ConnectionToken"),
            token_expiry=unix_seconds(credentials.get("Expiry")),
            url=_text(socket, "Url"),
            url_expiry=unix_seconds(socket.get("ConnectionExpiry")),
        )


class Credentials:
    """The secrets of one contact's customer, and every participant call made with them.

    A 403 means an expired connection token or a contact that is over. It seems over where
    CreateParticipantConnection is refused too, or where tokens that were fetched just now are. Then
    the judge is asked; if it agrees, `on_over` is called and Gone is raised, else Temporary. One
    that nobody ever got into has no chat to lose, and needs no judge.
    """

    def __init__(
        self,
        *,
        api: ConnectApi,
        judge: Judge,
        contact: Contact,
        active_at: float,
        clock: Clock,
        on_renewed: Callable[[str, float], None],
        on_over: Callable[[], None],
    ) -> None:
        self.contact_id = contact.contact_id
        self.segment_id = contact.segment_id or contact.contact_id
        self.participant_id = contact.participant_id
        self._api = api
        self._judge = judge
        self._clock = clock
        self._participant_token = contact.participant_token
        self._token = contact.connection_token
        self._expiry = contact.connection_expiry
        self._stored_until = contact.connection_expiry
        """When the token expires that others would find in the store; 0: it is of no use."""
        self._lived = contact.connected
        """A token of it has worked."""
        self._ended = False
        self._active_at = active_at
        self._on_renewed = on_renewed
        self._on_over = on_over
        self._renewal = asyncio.Lock()

    async def call(
        self,
        operation: str,
        body: Mapping[str, Any],
        urgency: Urgency = Urgency.WAITING,
        guard: Guard | None = None,
    ) -> dict[str, Any]:
        """One participant call with a valid connection token; `guard` comes last before it."""
        self._judge.allow(self, operation)
        token, fresh = await self._valid(urgency), False
        refused = 0
        while True:
            try:
                answer = await self._participant(operation, token, body, urgency, guard)
            except Forbidden:
                # One that a new socket brought along meanwhile may be older than the refusal, or
                # may have made ours void: neither proves that the contact is over.
                refused += fresh and token == self._token
                if refused >= _FRESH_REFUSED:
                    raise await self._gone(operation) from None
            else:
                self._lived = True
                return answer
            token, fresh = await self._renewed(token, urgency)

    async def call_once(self, operation: str, body: Mapping[str, Any], urgency: Urgency) -> None:
        """A call that is not worth a renewal. Raises Forbidden, too."""
        if self._token:
            self._judge.allow(self, operation)
            await self._participant(operation, self._token, body, urgency)

    async def connect(self, urgency: Urgency) -> Connection:
        """CreateParticipantConnection: both parts in one call, because its quota is the scarcest
        after a mass reconnect."""
        self._judge.allow(self, _CONNECT)
        return await self._connect(urgency)

    def heard(self, items: Sequence[Item]) -> None:
        """Items of the contact came in."""
        for item in items:
            if item.segment_id and not item.past:
                self.segment_id = item.segment_id
        self._active_at = max(self._active_at, *(item.time for item in items))

    def end(self) -> None:
        """The contact is over."""
        self._ended = True
        self._on_over()

    def stop(self) -> None:
        """Nobody listens any more."""
        self._judge.forget(self)

    async def _connect(self, urgency: Urgency) -> Connection:
        operation = _CONNECT
        try:
            answer = await self._participant(
                operation,
                self._participant_token,
                {"Type": ["WEBSOCKET", "CONNECTION_CREDENTIALS"]},
                urgency,
            )
        except Forbidden:
            raise await self._gone(operation) from None
        connection = Connection.of(answer)
        if connection.token and connection.token != self._token:
            self._token, self._expiry = connection.token, connection.token_expiry
            # Each rotation brings one. The stored one does as long as it lasts: storing every one
            # would cost a write for each idle conversation and hour.
            if self._stored_until - self._clock.now() < _KEEP_FROM:
                self._stored_until = self._expiry
                self._on_renewed(self._token, self._expiry)
        return connection

    async def _participant(
        self,
        operation: str,
        token: str,
        body: Mapping[str, Any],
        urgency: Urgency,
        guard: Guard | None = None,
    ) -> dict[str, Any]:
        if self._ended:
            raise Gone(operation, "ContactOver")
        begun = self._clock.boottime()
        # After a failover sockets come back in the order in which they are likely to be needed.
        rank = -self._active_at if urgency is Urgency.RECONNECT else 0.0
        answer = await self._api.participant(operation, token, body, urgency, rank, guard=guard)
        self._judge.served(self, begun)
        return answer

    async def _valid(self, urgency: Urgency) -> str:
        expired = self._expiry and self._clock.now() > self._expiry - _RENEW_BEFORE
        if self._token and not expired:
            return self._token
        token, _ = await self._renewed(self._token, urgency)
        return token

    async def _renewed(self, refused: str, urgency: Urgency) -> tuple[str, bool]:
        """A token after the refused one, fetched once for all who ask; and whether it was fetched
        just now."""
        async with self._renewal:
            fresh = self._token == refused
            if fresh:
                self._stored_until = 0.0
                await self._connect(urgency)
            return self._token, fresh

    async def _gone(self, operation: str) -> Gone:
        """What to raise after two 403. Raises Temporary where the judge doubts that it is over."""
        if self._lived:
            await self._judge.refused(self, operation)
        self.end()
        return Gone(operation, "AccessDeniedException")


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""
