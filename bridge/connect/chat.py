"""Connect as the relay sees it: `ConnectSide`, and a `ConnectChat` for each contact listened to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiohttp

from bridge.connect.api import ConnectApi, ConnectSettings, new_session
from bridge.connect.connection import ParticipantConnection
from bridge.connect.contacts import Contacts, Credentials
from bridge.connect.inbound import Inbound
from bridge.connect.judge import Judge
from bridge.connect.outbound import Outbound
from bridge.connect.quota import Quotas, Urgency
from bridge.connect.request import compose
from bridge.connect.stream import Heartbeats
from bridge.core.errors import Gone
from bridge.core.lookback import LookBack
from bridge.core.model import Contact, Item, Opening, Sent, Started
from bridge.core.ports import ChatListener, Clock


class ConnectSide:
    """Plays `ports.AgentSide`. To be made inside the running loop, and closed at the end."""

    def __init__(self, settings: ConnectSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._session = new_session()
        self._quotas = Quotas(clock, settings.quotas)
        self._api = ConnectApi(settings, self._quotas, self._session)
        self._contacts = Contacts(self._api, settings)
        self._judge = Judge(clock, self._contacts.is_over, settings.quarantine_seconds)
        self._heartbeats = Heartbeats(settings.heartbeat_seconds, clock)
        self._chats: set[ConnectChat] = set()

    def compose(self, opening: Opening) -> str:
        """The StartChatContact request for this opening, as text that `start` repeats. Pure."""
        return compose(opening, self._settings)

    async def start(self, request: str) -> Started:
        """StartChatContact, once."""
        return await self._contacts.start(request)

    def listen(
        self,
        contact: Contact,
        seen: LookBack,
        listener: ChatListener,
        started: Started | None = None,
    ) -> ConnectChat:
        """Connect and subscribe in the background."""
        chat = ConnectChat(
            settings=self._settings,
            session=self._session,
            clock=self._clock,
            quotas=self._quotas,
            api=self._api,
            judge=self._judge,
            heartbeats=self._heartbeats,
            contact=contact,
            seen=seen,
            listener=listener,
            on_done=self._chats.discard,
        )
        self._chats.add(chat)
        chat.start(Urgency.RECONNECT if contact.connected else Urgency.WAITING, started)
        return chat

    def set_share(self, share: float) -> None:
        """This replica's part of Connect's quotas: 1 / live replicas."""
        self._quotas.set_share(share)

    async def close(self) -> None:
        """Close every socket and connection. Contacts go on."""
        await asyncio.gather(*(chat.close() for chat in list(self._chats)))
        await self._heartbeats.close()
        await self._judge.close()
        self._api.close()
        await self._session.close()


class ConnectChat:
    """Plays `ports.Chat`: one contact's credentials, connection and transcript."""

    def __init__(
        self,
        *,
        settings: ConnectSettings,
        session: aiohttp.ClientSession,
        clock: Clock,
        quotas: Quotas,
        api: ConnectApi,
        judge: Judge,
        heartbeats: Heartbeats,
        contact: Contact,
        seen: LookBack,
        listener: ChatListener,
        on_done: Callable[[ConnectChat], None],
    ) -> None:
        self._listener = listener
        self._on_done = on_done
        self._ended = False
        """The contact is over, which is more than that we stopped listening."""
        credentials = self._credentials = Credentials(
            api=api,
            judge=judge,
            contact=contact,
            active_at=seen.newest,
            clock=clock,
            on_renewed=listener.renewed,
            on_over=self._over,
        )
        self._inbound = Inbound(
            settings, clock, credentials, seen=seen, listener=listener, on_ended=self._end
        )
        self._outbound = Outbound(quotas, clock, credentials)
        self._connection = ParticipantConnection(
            settings,
            session,
            clock,
            heartbeats=heartbeats,
            credentials=credentials,
            hearer=self._inbound,
        )

    def start(self, urgency: Urgency, started: Started | None) -> None:
        """Connect and subscribe in the background."""
        self._connection.start(urgency, started)

    async def send(
        self, text: str, client_token: str, guard: Callable[[], None] = lambda: None
    ) -> Sent:
        """SendMessage; returns the item that it became."""
        self._check("SendMessage")
        return await self._outbound.send(text, client_token, guard)

    async def end(self, client_token: str) -> None:
        """DisconnectParticipant. A contact that is over already is success. The socket stays: the
        disconnect flow may still speak."""
        if not self._ended:
            await self._outbound.end(client_token)

    async def catch_up(self) -> Sequence[Item]:
        """Read the transcript from the look-back on; also before the first socket is open."""
        self._check("GetTranscript")
        return await self._inbound.catch_up()

    def typing(self) -> None:
        """Show the agent that more is coming. Best effort."""
        self._outbound.typing()

    def delivered(self, item_id: str) -> None:
        """Tell the agent that the customer has it. Best effort."""
        self._outbound.delivered(item_id)

    async def close(self) -> None:
        """Stop listening. The contact goes on."""
        self._stop()
        await asyncio.gather(
            self._connection.close(), self._inbound.close(), self._outbound.close()
        )

    def _check(self, call: str) -> None:
        if self._ended:
            raise Gone(call, "ContactOver")

    def _over(self) -> None:
        """Two 403: what waits is told, and where chat.ended is not among it, that it is over."""
        if self._ended:
            return
        self._inbound.flush()
        if not self._ended:
            self._end()
            self._listener.over()

    def _end(self) -> None:
        self._ended = True
        self._stop()

    def _stop(self) -> None:
        self._connection.stop()
        self._inbound.stop()
        self._outbound.stop()
        self._credentials.stop()
        self._on_done(self)
