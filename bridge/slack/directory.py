"""Who people are and where things stand, as Slack tells it: cached, and degrading to less."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from msgspec.structs import replace

from bridge.core.errors import Denied, Failure, Gone, Rejected, Temporary
from bridge.core.events import Identified
from bridge.core.model import ConversationId, Profile
from bridge.core.ports import Clock
from bridge.slack.api import Api
from bridge.slack.markers import Marker, clean, resolve
from bridge.slack.model import Identity, Json
from bridge.slack.places import Places

K = TypeVar("K")
V = TypeVar("V")

_NAMELESS = "Someone"
_GROUP_ID = re.compile(r"S[A-Z0-9]{6,}\Z")


class _Cache(Generic[K, V]):
    """Values that stay good for `seconds`, the oldest leaving first where there are too many."""

    def __init__(self, clock: Clock, seconds: float, size: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._size = size
        self._kept: OrderedDict[K, tuple[float, V]] = OrderedDict()

    async def get(self, key: K, fetch: Callable[[], Awaitable[V]]) -> V:
        """The kept value, or what `fetch` returns; what it raises is not kept."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock.boottime():
            return kept[1]
        value = await fetch()
        self._kept.pop(key, None)
        self._kept[key] = (self._clock.boottime() + self._seconds, value)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return value


@dataclass(frozen=True, slots=True)
class _Person:
    profile: Profile
    known: bool
    """Whether Slack told us who this is."""


@dataclass(frozen=True, slots=True)
class _Groups:
    members: frozenset[str]
    complete: bool
    """Whether every configured group was found."""


class Directory:
    """Looks people, channels and links up. Names and links degrade where Slack or our scopes
    withhold them; whether somebody may open a conversation is never guessed."""

    def __init__(
        self,
        api: Api,
        identity: Identity,
        places: Places,
        clock: Clock,
        customers: Iterable[str] = ("everyone",),
    ) -> None:
        self._api = api
        self._identity = identity
        self._places = places
        wanted = {entry.strip() for entry in customers} - {""}
        self._everyone = "everyone" in wanted
        self._external = "external" in wanted
        self._wanted_groups = frozenset(
            entry.removeprefix("@") for entry in wanted - {"everyone", "external"}
        )
        self._people: _Cache[str, _Person] = _Cache(clock, 600.0, 10_000)
        self._links: _Cache[tuple[str, str], str] = _Cache(clock, 3600.0, 10_000)
        self._groups: _Cache[str, _Groups] = _Cache(clock, 300.0, 1)
        self._handles: _Cache[str, Mapping[str, str]] = _Cache(clock, 600.0, 1)

    async def unknown_groups(self) -> frozenset[str]:
        """Configured handles that no user group has: nobody could be judged by them. Raises
        Failure; Denied where the scope `usergroups:read` is missing."""
        handles = {group for group in self._wanted_groups if not _GROUP_ID.match(group)}
        if not handles:
            return frozenset()
        return frozenset(handles - set((await self._fetch_handles()).values()))

    async def identify(self, conversation: ConversationId, user_id: str) -> Identified:
        """Everything that Connect is told of a customer. Raises Temporary or Denied."""
        person = await self._person(user_id)
        channel = conversation.place.channel
        return Identified(
            replace(person.profile, may_open=await self._may_open(person)),
            place_name=await self._channel_name(channel),
            permalink=await self._permalink(channel, conversation.thread_ts),
        )

    async def with_names(self, text: str) -> str:
        """The text with its markers replaced by names. Never raises a Failure."""
        return await resolve(text, self._name)

    # --- people ------------------------------------------------------------------------------

    async def _person(self, user_id: str) -> _Person:
        async def fetch() -> _Person:
            try:
                found = await self._api.read("users.info", user=user_id, include_locale=True)
            except (Gone, Rejected):
                return _Person(Profile(user_id, _NAMELESS), known=False)
            except Denied as refusal:
                if refusal.code != "missing_scope":
                    raise
                return _Person(Profile(user_id, _NAMELESS), known=False)
            user = found.get("user")
            return _Person(self._profile(user_id, _object(user)), known=isinstance(user, dict))

        return await self._people.get(user_id, fetch)

    def _profile(self, user_id: str, user: Json) -> Profile:
        details = _object(user.get("profile"))
        # To an agent a customer is a person: the full name before the one chosen for chats.
        names = (details.get("real_name"), user.get("real_name"), details.get("display_name"))
        name = next((n for n in (*names, user.get("name")) if isinstance(n, str) and n.strip()), "")
        return Profile(
            user_id,
            clean(name).strip() or _NAMELESS,
            email=str(details.get("email") or ""),
            time_zone=str(user.get("tz") or ""),
            locale=str(user.get("locale") or ""),
            team_id=str(user.get("team_id") or ""),
            external=self._is_external(user),
        )

    def _is_external(self, user: Json) -> bool:
        """Somebody of another organisation; another workspace of our own is not one."""
        if user.get("is_stranger"):
            return True
        workspace = self._identity.workspace
        enterprise = _object(user.get("enterprise_user")).get("enterprise_id")
        colleague = bool(workspace.enterprise_id) and enterprise == workspace.enterprise_id
        return user.get("team_id") != workspace.team_id and not colleague

    async def _may_open(self, person: _Person) -> bool:
        if self._everyone:
            return True
        if self._external:
            if not person.known:
                raise Temporary("users.info", "unknown_user")
            if person.profile.external:
                return True
        if not self._wanted_groups:
            return False
        groups = await self._groups.get("", self._fetch_groups)
        if person.profile.user_id in groups.members:
            return True
        if not groups.complete:
            raise Temporary("usergroups.list", "unknown_usergroup")
        return False

    async def _fetch_groups(self) -> _Groups:
        ids = {group for group in self._wanted_groups if _GROUP_ID.match(group)}
        if handles := self._wanted_groups - ids:
            known = await self._handles.get("", self._fetch_handles)
            ids |= {identifier for identifier, handle in known.items() if handle in handles}
        members: set[str] = set()
        for group in sorted(ids):
            found = await self._api.read("usergroups.users.list", usergroup=group)
            members.update(str(user) for user in found.get("users") or ())
        return _Groups(frozenset(members), complete=len(ids) >= len(self._wanted_groups))

    async def _fetch_handles(self) -> Mapping[str, str]:
        found = await self._api.read("usergroups.list")
        groups = [_object(group) for group in found.get("usergroups") or ()]
        return {str(group.get("id")): str(group.get("handle") or "") for group in groups}

    # --- names and links ---------------------------------------------------------------------

    async def _name(self, marker: Marker) -> str:
        fallback = marker.label or marker.id
        try:
            match marker.kind:
                case "@":
                    person = await self._person(marker.id)
                    return f"@{person.profile.name if person.known else fallback}"
                case "#":
                    return f"#{await self._places.name(marker.id) or fallback}"
                case _:
                    known = await self._handles.get("", self._fetch_handles)
                    return f"@{known.get(marker.id) or fallback}"
        except Failure:
            return f"{'#' if marker.kind == '#' else '@'}{fallback}"

    async def _channel_name(self, channel: str) -> str:
        """Empty for a DM, which has no name."""
        try:
            return "" if channel.startswith("D") else await self._places.name(channel)
        except Failure:
            return ""

    async def _permalink(self, channel: str, ts: str) -> str:
        """Empty for a flat DM, which has no thread to link to."""
        if not ts:
            return ""

        async def fetch() -> str:
            found = await self._api.read("chat.getPermalink", channel=channel, message_ts=ts)
            return str(found.get("permalink") or "")

        try:
            return await self._links.get((channel, ts), fetch)
        except Failure:
            return ""


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}
