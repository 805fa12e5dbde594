"""What a chat tells is told to its lane, as facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.core.events import ContactOver, CredentialsRenewed, ItemsArrived, Subscribed
from bridge.core.model import Item

if TYPE_CHECKING:
    from bridge.relay.lane import Lane


class Ear:
    """Hears one contact; what an old one still says is dropped."""

    __slots__ = ("_contact_id", "_lane")

    def __init__(self, lane: Lane, contact_id: str) -> None:
        self._lane = lane
        self._contact_id = contact_id

    def _current(self) -> bool:
        contact = self._lane.conversation.contact
        return contact is not None and contact.contact_id == self._contact_id

    def subscribed(self) -> None:
        """See `ports.ChatListener`."""
        if self._current():
            self._lane.hear(Subscribed())

    def items(self, items: Sequence[Item]) -> None:
        """See `ports.ChatListener`."""
        self._lane.hear(ItemsArrived(self._contact_id, tuple(items)))

    def renewed(self, connection_token: str, expiry: float) -> None:
        """See `ports.ChatListener`."""
        if self._current():
            self._lane.hear(CredentialsRenewed(connection_token, expiry))

    def over(self) -> None:
        """See `ports.ChatListener`."""
        self._lane.hear(ContactOver(self._contact_id))
