"""What a stored message does to its readers: whom it pings, which links it shows, how its text
looks. Judged strictly: text that is live on any surface of Slack counts as live here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bridge.sandbox.slack.model import Json, Message
from bridge.sandbox.slack.world import World

_ENTITY = re.compile(r"<([^<>\n]*)>")
_URL = re.compile(r"https?://(?:(?!&[lg]t;)[^\s<>|)\]])+")
_MARKDOWN_LINK = re.compile(r"!?\[([^\]\n]*)\]\(<?([^\s()>]+)>?[^)\n]*\)")
_PLAIN_MENTION = re.compile(r"(?<![\w@])@([\w.-]+)")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:")
_LIVE = re.compile(r"<(?:[@#!]|[a-z][a-z0-9+.-]*:)[^<>\n]*>")
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt);)")
_TRAILING = ".,;:!?'\"*_~`"


@dataclass
class Effects:
    """`pings`: channel, here, everyone, user ids and group ids, each once, in order. `links`:
    address and visible label, equal where the address itself is shown."""

    pings: list[str] = field(default_factory=list)
    links: list[dict[str, str]] = field(default_factory=list)

    def ping(self, target: str) -> None:
        """Record a notification, once."""
        if target not in self.pings:
            self.pings.append(target)

    def link(self, url: str, label: str = "") -> None:
        """Record a link."""
        self.links.append({"url": url, "label": label or url})


def unescape(text: str) -> str:
    """The three replacements undone, `&amp;` last so that nothing is undone twice."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def normalised(text: str) -> str:
    """Posted text as Slack stores it: entities stay, bare addresses become entities, and stray
    `&`, `<`, `>` are escaped (docs: the stored message may differ from the posted one)."""
    out: list[str] = []
    position = 0
    for match in _LIVE.finditer(text):
        out += [_plain(text[position : match.start()]), match.group(0)]
        position = match.end()
    out.append(_plain(text[position:]))
    return "".join(out)


def _plain(text: str) -> str:
    def wrap(match: re.Match[str]) -> str:
        url = match.group(0).rstrip(_TRAILING)
        return f"<{url}>{match.group(0)[len(url) :]}"

    text = _BARE_AMPERSAND.sub("&amp;", text).replace("<", "&lt;").replace(">", "&gt;")
    return _URL.sub(wrap, text)


def effects(world: World, message: Message) -> Effects:
    """Everything in a message that notifies or links, in text, blocks and attachments."""
    out = Effects()
    body = message.body
    _mrkdwn(str(body.get("text") or ""), out)
    if message.parse == "full":
        _plain_names(world, str(body.get("text") or ""), out, users=True)
    elif message.link_names:
        _plain_names(world, str(body.get("text") or ""), out, users=False)
    for block in body.get("blocks") or []:
        _block(block, out)
    for attachment in body.get("attachments") or []:
        for key in ("pretext", "text", "title", "fallback"):
            _mrkdwn(str(attachment.get(key) or ""), out)
        for block in attachment.get("blocks") or []:
            _block(block, out)
    # A person's text and block say the same; what both say is one link.
    out.links = [dict(pair) for pair in dict.fromkeys(tuple(link.items()) for link in out.links)]
    return out


def displayed(world: World, text: str) -> str:
    """Stored text as a person reads it: entities by name, the three characters unescaped."""

    def show(match: re.Match[str]) -> str:
        return _shown(world, match.group(1))

    return unescape(_ENTITY.sub(show, text))


def _shown(world: World, entity: str) -> str:
    target, _, label = entity.partition("|")
    if target.startswith("@"):
        user = world.users.get(target[1:])
        return f"@{user.shown_name if user else label or target[1:]}"
    if target.startswith("#"):
        channel = world.channels.get(target[1:])
        return f"#{channel.name if channel else label or target[1:]}"
    if target.startswith("!subteam^"):
        group = world.groups.get(target.removeprefix("!subteam^"))
        return f"@{group.handle}" if group else label or target
    if target.startswith("!date^"):
        return label
    if target.startswith("!"):
        return label or f"@{target[1:]}"
    return label or target.removeprefix("mailto:")


def _mrkdwn(text: str, out: Effects) -> None:
    """Entities live in mrkdwn, whether or not formatting is switched off, code spans included."""
    for match in _ENTITY.finditer(text):
        target, _, label = match.group(1).partition("|")
        if target.startswith("@"):
            out.ping(target[1:])
        elif target.startswith("!subteam^"):
            out.ping(target.removeprefix("!subteam^"))
        elif target in ("!here", "!channel", "!everyone", "!group"):
            out.ping(target[1:])
        elif _SCHEME.match(target):
            out.link(unescape(target), unescape(label))
    for match in _URL.finditer(_ENTITY.sub(" ", text)):
        out.link(unescape(match.group(0)).rstrip(_TRAILING))


def _markdown(text: str, out: Effects) -> None:
    """A markdown block: Slack's own entities are live in it, beside Markdown's links."""
    for match in _MARKDOWN_LINK.finditer(text):
        out.link(match.group(2), match.group(1))
    _mrkdwn(_MARKDOWN_LINK.sub(" ", text), out)


def _plain_names(world: World, text: str, out: Effects, *, users: bool) -> None:
    for match in _PLAIN_MENTION.finditer(text):
        name = match.group(1).rstrip(".-")
        group = next((g for g in world.groups.values() if g.handle == name), None)
        if group is not None:
            out.ping(group.id)
        elif users and name in ("here", "channel", "everyone"):
            out.ping(name)
        elif users:
            user = world.user(name)
            if user is not None:
                out.ping(user.id)


def _block(block: Json, out: Effects) -> None:
    kind = block.get("type")
    if kind == "markdown":
        _markdown(str(block.get("text") or ""), out)
        return
    for node in _nodes(block):
        handler = _NODES.get(str(node.get("type")))
        if handler is not None:
            handler(node, out)


def _nodes(value: object) -> Iterator[Json]:
    """Every object inside a block, outermost first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _text_object(node: Json, out: Effects) -> None:
    _mrkdwn(str(node.get("text") or ""), out)


def _button(node: Json, out: Effects) -> None:
    if node.get("url"):
        out.link(str(node["url"]), str((node.get("text") or {}).get("text") or ""))


_NODES: dict[str, Callable[[Json, Effects], None]] = {
    "mrkdwn": _text_object,
    "user": lambda node, out: out.ping(str(node.get("user_id"))),
    "usergroup": lambda node, out: out.ping(str(node.get("usergroup_id"))),
    "broadcast": lambda node, out: out.ping(str(node.get("range"))),
    "link": lambda node, out: out.link(str(node.get("url")), str(node.get("text") or "")),
    "button": _button,
}
