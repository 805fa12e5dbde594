"""The agent's side and the sandbox's controls, as an HTTP API for tests and people."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from bridge.sandbox.connect.attachments import AttachmentStore, is_content_type
from bridge.sandbox.connect.body import Body
from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.errors import DeskError
from bridge.sandbox.connect.items import EVENT, PLAIN, TYPING, Item, Participant, new_id
from bridge.sandbox.connect.reports import contact_report, full_report, item_report
from bridge.sandbox.connect.requests import RequestLog
from bridge.sandbox.connect.settings import LARGEST
from bridge.sandbox.connect.sockets import SocketHub
from bridge.sandbox.connect.tokens import Kind
from bridge.sandbox.connect.world import World

MAX_WAIT_SECONDS = 300.0
TOKEN_KINDS: dict[str, Kind] = {
    "connection_token": "connection_token",
    "socket_url": "socket_url",
    "participant_token": "participant_token",
}
Action = Callable[[Chat, Body], Any]


class Desk:
    """Everything under /sandbox/."""

    def __init__(
        self, world: World, attachments: AttachmentStore, hub: SocketHub, log: RequestLog
    ) -> None:
        self._world = world
        self._attachments = attachments
        self._hub = hub
        self._log = log

    def routes(self) -> list[web.RouteDef]:
        """The whole API."""
        actions: dict[str, Action] = {
            "accept": self._accept,
            "messages": self._say,
            "typing": self._type,
            "events": self._event,
            "receipts": self._receipt,
            "transfer": self._transfer,
            "leave": self._leave,
            "end": self._end,
            "attachments": self._attach,
            "join": self._join,
            "frames": self._push,
            "expire": self._expire,
            "drop_sockets": self._drop,
        }
        contact = "/sandbox/contacts/{contact_id}"
        return [
            web.get("/sandbox/contacts", answering(self._list)),
            web.get(contact, answering(self._show)),
            *(
                web.post(f"{contact}/{name}", answering(self._acting(action)))
                for name, action in actions.items()
            ),
            web.get("/sandbox/wait", answering(self._wait)),
            web.get("/sandbox/settings", answering(self._settings)),
            web.patch("/sandbox/settings", answering(self._patch)),
            web.get("/sandbox/requests", answering(self._requests)),
            web.get("/sandbox/sockets", answering(self._sockets)),
            web.get("/sandbox/faults", answering(self._faults)),
            web.post("/sandbox/faults", answering(self._add_fault)),
            web.delete("/sandbox/faults", answering(self._remove_faults)),
            web.delete("/sandbox/faults/{fault_id}", answering(self._remove_faults)),
            web.post("/sandbox/forget_client_tokens", answering(self._forget)),
            web.post("/sandbox/views", answering(self._add_view)),
        ]

    def _acting(self, action: Action) -> Callable[[web.Request], Awaitable[Any]]:
        async def act(request: web.Request) -> Any:
            chat = self._chat(request)
            return action(chat, Body.of(await request.read()))

        return act

    def _chat(self, request: web.Request) -> Chat:
        return self._world.desk_chat(request.match_info["contact_id"])

    # --- what an agent does --------------------------------------------------------------

    def _accept(self, chat: Chat, body: Body) -> Any:
        chat.accept(body.text("name", "Agent"), body.optional_text("participant"))
        return contact_report(chat)

    def _say(self, chat: Chat, body: Body) -> Any:
        _still_open(chat)
        sender = _speaker(chat, body)
        content_type = body.text("content_type", PLAIN)
        item_id = body.optional_text("id")
        chunks = body.texts("chunks")
        if chunks is not None:
            completed = body.flag("completed", default=True)
            said = chat.stream(sender, content_type, chunks, item_id, completed=completed)
            item = chat.find(said)
            return item_report(item) if item else {"id": said}
        text = body.text("text")
        if not text:
            raise DeskError("text is empty")
        return item_report(chat.add("MESSAGE", content_type, sender, text, item_id=item_id))

    def _type(self, chat: Chat, body: Body) -> Any:
        _still_open(chat)
        return item_report(chat.add("EVENT", TYPING, _speaker(chat, body), stored=False))

    def _event(self, chat: Chat, body: Body) -> Any:
        """Any other event, as participant.idle or authentication.initiated."""
        _still_open(chat)
        name, stored = body.text("event"), body.flag("stored", default=False)
        sender = _speaker(chat, body) if body.has("as") else None
        content = body.optional_text("content")
        return item_report(chat.add("EVENT", EVENT + name, sender, content, stored=stored))

    def _receipt(self, chat: Chat, body: Body) -> Any:
        _still_open(chat)
        item = _known_item(chat, body.text("item"))
        kind = body.choice("kind", ("delivered", "read"), "read")
        chat.receipt(item, _speaker(chat, body), read=kind == "read")
        return item_report(item)

    def _transfer(self, chat: Chat, body: Body) -> Any:
        if body.flag("fail", default=False):
            chat.fail_transfer()
        else:
            chat.transfer(body.optional_text("to"), body.optional_text("participant"))
        return contact_report(chat)

    def _leave(self, chat: Chat, body: Body) -> Any:
        chat.leave(body.optional_text("name"))
        return contact_report(chat)

    def _end(self, chat: Chat, body: Body) -> Any:
        _still_open(chat)
        chat.end(body.text("reason", "AGENT_DISCONNECT"))
        return contact_report(chat)

    def _attach(self, chat: Chat, body: Body) -> Any:
        _still_open(chat)
        try:
            content = base64.b64decode(body.text("content_base64"), validate=True)
        except binascii.Error:
            raise DeskError("content_base64 is not base64") from None
        if not content:
            raise DeskError("content_base64 is empty")
        sender = _speaker(chat, body, "sender")
        name, content_type = body.text("name"), body.text("content_type")
        if not is_content_type(content_type):
            raise DeskError("content_type is not a content type")
        return item_report(self._attachments.add(chat, sender, name, content_type, content))

    def _join(self, chat: Chat, body: Body) -> Any:
        role = body.choice("role", ("AGENT", "SUPERVISOR", "CUSTOM_BOT"), "SUPERVISOR")
        return asdict(chat.join(body.text("name"), role))

    # --- what goes wrong -----------------------------------------------------------------

    def _push(self, chat: Chat, body: Body) -> Any:
        frame = body.any("frame")
        text = frame if isinstance(frame, str) else json.dumps(frame)
        return {"sockets": self._hub.push(chat, text)}

    def _expire(self, chat: Chat, body: Body) -> Any:
        kind = body.choice("what", tuple(TOKEN_KINDS))
        return {"expired": self._world.tokens.expire(TOKEN_KINDS[kind], chat.id)}

    def _drop(self, chat: Chat, body: Body) -> Any:
        code = body.any("code") if body.has("code") else None
        if code is not None and not _is_close_code(code):
            raise DeskError("code is a WebSocket close code")
        return {"sockets": self._hub.drop(chat, code)}

    async def _faults(self, _request: web.Request) -> Any:
        plan = self._world.faults
        return {"faults": [asdict(each) for each in plan.faults.values()], "log": plan.log}

    async def _add_fault(self, request: web.Request) -> Any:
        body = Body.of(await request.read()).members
        match = body.get("match")
        chat = self._world.chat_of(str(match.get("contact"))) if isinstance(match, dict) else None
        if isinstance(match, dict) and chat is not None:
            # Faults are matched by the chat's initial contact, whichever of the chain is named.
            body = {**body, "match": {**match, "contact": chat.id}}
        _check_options(body)
        try:
            return asdict(self._world.faults.add(body))
        except (ValueError, TypeError, OverflowError) as error:
            raise DeskError(f"not a fault: {error}") from None

    async def _remove_faults(self, request: web.Request) -> Any:
        self._world.faults.remove(request.match_info.get("fault_id"))
        return {}

    async def _forget(self, _request: web.Request) -> Any:
        self._world.client_tokens.forget()
        return {}

    # --- what there is to see ------------------------------------------------------------

    async def _list(self, _request: web.Request) -> Any:
        return {"contacts": [contact_report(chat) for chat in self._world.chats]}

    async def _show(self, request: web.Request) -> Any:
        chat = self._chat(request)
        return full_report(chat, sockets=len(self._hub.of(chat)))

    async def _requests(self, request: web.Request) -> Any:
        return {"requests": self._log.since(int(_number(request, "since", 0)))}

    async def _sockets(self, _request: web.Request) -> Any:
        return {"sockets": [each.summary() for each in self._hub.of()]}

    async def _wait(self, request: web.Request) -> Any:
        """Answer when a contact has so many items, or a state, or subscribed sockets."""
        chat = self._world.desk_chat(request.query.get("contact", ""))
        items, sockets = (int(_number(request, name, 0)) for name in ("items", "sockets"))
        state = request.query.get("state")

        def met() -> bool:
            live = sum(each.subscribed for each in self._hub.of(chat))
            reached = state is None or chat.state == state
            return reached and len(chat.items) >= items and live >= sockets

        seconds = min(_number(request, "timeout", 10.0), MAX_WAIT_SECONDS)
        if not await self._world.wait_until(met, seconds):
            raise DeskError("not within the timeout", 408)
        return full_report(chat, sockets=len(self._hub.of(chat)))

    async def _settings(self, _request: web.Request) -> Any:
        return self._world.settings.as_dict()

    async def _patch(self, request: web.Request) -> Any:
        try:
            self._world.settings.patch(Body.of(await request.read()).members)
        except ValueError as error:
            raise DeskError(str(error)) from None
        return self._world.settings.as_dict()

    async def _add_view(self, request: web.Request) -> Any:
        """A view for DescribeView; the answer's token goes into a ViewResource message."""
        body = Body.of(await request.read())
        token = new_id()
        settings = self._world.settings
        view_id = body.text("id", f"view-{len(self._world.views) + 1}")
        self._world.views[token] = {
            "Id": view_id,
            "Arn": f"arn:aws:connect:{settings.region}:{settings.account_id}:view/{view_id}",
            "Name": body.text("name"),
            "Version": 1,
            "Content": {
                "InputSchema": body.text("input_schema", "{}"),
                "Template": body.text("template", "{}"),
                "Actions": body.texts("actions") or [],
            },
        }
        return {"token": token}


def answering(handle: Callable[[web.Request], Awaitable[Any]]) -> Handler:
    """A handler's value as JSON, and its refusal as {"error": …}."""

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            return web.json_response(await handle(request))
        except DeskError as error:
            return web.json_response({"error": str(error)}, status=error.status)

    return serve


def _still_open(chat: Chat) -> None:
    if chat.state == "ended":
        raise DeskError("the chat has ended", 409)


def _speaker(chat: Chat, body: Body, name_member: str = "name") -> Participant:
    """Who acts: the agent unless `as` or a name say otherwise."""
    voice = body.choice("as", ("agent", "flow", "bot"), "agent")
    name = body.optional_text(name_member)
    if voice == "flow":
        return chat.system if name is None else Participant("SYSTEM", name, chat.system.id)
    if voice == "bot":
        return chat.bot(name or "BOT")
    candidates = [each for each in chat.others if each.active and each.name == name]
    speaker = candidates[0] if candidates else (chat.agent if name is None else None)
    if speaker is None:
        raise DeskError("no such agent is in the chat", 409)
    return speaker


def _known_item(chat: Chat, item_id: str) -> Item:
    item = chat.find(item_id)
    if item is None:
        raise DeskError(f"no item {item_id!r}", 404)
    return item


def _number(request: web.Request, name: str, default: float) -> float:
    try:
        number = float(request.query.get(name, default))
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number < 0:
        raise DeskError(f"{name} is a number from 0 on")
    return number


def _is_close_code(value: Any) -> bool:
    """What a server may send: 1000 to 1014 but the reserved, and the private ranges."""
    return type(value) is int and (
        (1000 <= value <= 1014 and value not in (1004, 1005, 1006)) or 3000 <= value <= 4999
    )


def _check_options(body: dict[str, Any]) -> None:
    """Refuse what would break the sandbox itself when the fault strikes."""
    for name in ("seconds", "retry_after", "frames"):
        value = body.get(name, 0)
        if type(value) not in (int, float) or not 0 <= value <= LARGEST:
            raise DeskError(f"{name} is a number from 0 on")
    if body.get("kind") == "close":
        if "code" in body and not _is_close_code(body["code"]):
            raise DeskError("code is a WebSocket close code")
    elif not re.fullmatch(r"[A-Za-z0-9.]+", str(body.get("code", "None"))):
        raise DeskError("code is the name of an error")
    if "status" in body and not (type(body["status"]) is int and 400 <= body["status"] <= 599):
        raise DeskError("status is an HTTP error status")
