"""Contacts: how one is started, and the credentials of its customer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.connect.api import ConnectApi, ConnectSettings
from bridge.connect.quota import Urgency
from bridge.connect.refusals import Forbidden
from bridge.connect.translate import unix_seconds
from bridge.core.errors import Gone, Rejected, Uncertain
from bridge.core.model import Contact, Started
from bridge.core.ports import Clock

log = logging.getLogger(__name__)

_FRESH_REFUSED = 2
"""One can expire, or be expired, while it is on its way; Connect still gives new ones then."""
_RENEW_BEFORE = 60.0
"""Seconds before its expiry that a connection token is renewed, as Connect's own client does."""


class Contacts:
    """Starts contacts."""

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

    A 403 means an expired connection token or a contact that is over. It is over, `on_over` is
    called and Gone is raised where CreateParticipantConnection is refused too, or where tokens that
    were fetched just now are.
    """

    def __init__(
        self,
        api: ConnectApi,
        contact: Contact,
        clock: Clock,
        on_renewed: Callable[[str, float], None],
        on_over: Callable[[], None],
    ) -> None:
        self.contact_id = contact.contact_id
        self.participant_id = contact.participant_id
        self._api = api
        self._clock = clock
        self._participant_token = contact.participant_token
        self._token = contact.connection_token
        self._expiry = contact.connection_expiry
        self._on_renewed = on_renewed
        self._on_over = on_over
        self._renewal = asyncio.Lock()

    async def call(
        self, operation: str, body: Mapping[str, Any], urgency: Urgency = Urgency.WAITING
    ) -> dict[str, Any]:
        """One participant call with a valid connection token."""
        token, fresh = await self._valid(urgency), False
        refused = 0
        while True:
            try:
                return await self._api.participant(operation, token, body, urgency)
            except Forbidden:
                # One that a new socket brought along meanwhile may be older than the refusal, or
                # may have made ours void: neither proves that the contact is over.
                refused += fresh and token == self._token
                if refused >= _FRESH_REFUSED:
                    raise self._over(operation) from None
            token, fresh = await self._renewed(token, urgency)

    async def call_once(self, operation: str, body: Mapping[str, Any], urgency: Urgency) -> None:
        """A call that is not worth a renewal. Raises Forbidden, too."""
        if self._token:
            await self._api.participant(operation, self._token, body, urgency)

    async def connect(self, urgency: Urgency) -> Connection:
        """CreateParticipantConnection: both parts in one call, because its quota is the scarcest
        after a mass reconnect."""
        operation = "CreateParticipantConnection"
        try:
            answer = await self._api.participant(
                operation,
                self._participant_token,
                {"Type": ["WEBSOCKET", "CONNECTION_CREDENTIALS"]},
                urgency,
            )
        except Forbidden:
            raise self._over(operation) from None
        connection = Connection.of(answer)
        if connection.token and connection.token != self._token:
            self._token, self._expiry = connection.token, connection.token_expiry
            self._on_renewed(self._token, self._expiry)
        return connection

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
                await self.connect(urgency)
            return self._token, fresh

    def _over(self, operation: str) -> Gone:
        self._on_over()
        return Gone(operation, "AccessDeniedException")


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    return value if isinstance(value, str) else ""
