"""The agent's desk under `/sandbox/`: what agents, flows and administrators do, and what they see.
`docs/sandbox-connect.md` describes every route."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from bridge.sandbox.connect.attachments import AttachmentStore
from bridge.sandbox.connect.chat import Chat
from bridge.sandbox.connect.errors import DeskError
from bridge.sandbox.connect.items import PLAIN, TYPING, Item, Participant
from bridge.sandbox.connect.requests import RequestLog
from bridge.sandbox.connect.sockets import SocketHub
from bridge.sandbox.connect.world import World

Json = dict[str, Any]
Deed = Callable[[Chat, Mapping[str, Any]], Json]
KINDS = ("connection_token", "socket_url", "participant_token")


class Desk:
    """The support team, and whoever runs the instance."""

    def __init__(
        self, world: World, attachments: AttachmentStore, hub: SocketHub, log: RequestLog
    ) -> None:
        self._world = world
        self._attachments = attachments
        self._hub = hub
        self._log = log

    def routes(self) -> list[web.RouteDef]:
        """Every route of the desk."""
        deeds: dict[str, Deed] = {
            "accept": self._accept,
            "messages": self._say,
            "typing": self._type,
            "transfer": self._transfer,
            "leave": self._leave,
            "join": self._join,
            "end": self._end,
            "attachments": self._attach,
            "frames": self._push,
            "expire": self._expire,
            "drop_sockets": self._drop,
        }
        return [
            web.get("/sandbox/contacts", _answering(self._contacts)),
            web.get("/sandbox/contacts/{id}", _answering(self._contact)),
            *(
                web.post(f"/sandbox/contacts/{{id}}/{name}", _answering(self._doing(deed)))
                for name, deed in deeds.items()
            ),
            web.get("/sandbox/settings", _answering(self._settings)),
            web.patch("/sandbox/settings", _answering(self._change)),
            web.get("/sandbox/requests", _answering(self._requests)),
            web.get("/sandbox/sockets", _answering(self._sockets)),
            web.get("/sandbox/faults", _answering(self._faults)),
            web.post("/sandbox/faults", _answering(self._add_fault)),
            web.delete("/sandbox/faults", _answering(self._clear_faults)),
            web.delete("/sandbox/faults/{fault}", _answering(self._clear_faults)),
            web.post(
                "/sandbox/forget_client_tokens",
                _answering(self._forget),
            ),
            web.get("/sandbox/wait", self._wait),
        ]

    def _doing(self, deed: Deed) -> Callable[[web.Request, Mapping[str, Any]], Json]:
        def carried_out(request: web.Request, body: Mapping[str, Any]) -> Json:
            return deed(self._world.desk_chat(request.match_info["id"]), body)

        return carried_out

    # --- seeing ----------------------------------------------------------------------------

    def _contacts(self, _request: web.Request, _body: Mapping[str, Any]) -> Json:
        return {"contacts": [self._summary(chat) for chat in self._world.chats]}

    def _contact(self, request: web.Request, _body: Mapping[str, Any]) -> Json:
        chat = self._world.desk_chat(request.match_info["id"])
        return self._summary(chat) | {
            "transcript": [
                *(item.entry(related=True) for item in chat.opening.past),
                *(item.entry() for item in chat.items),
            ],
            "participants": [
                {"id": one.id, "role": one.role, "name": one.name, "active": one.active}
                for one in (chat.customer, *chat.others)
            ],
            "sockets": len(self._hub.of(chat)),
        }

    def _summary(self, chat: Chat) -> Json:
        opening = chat.opening
        return {
            "contact_id": chat.contact.id,
            "initial_contact_id": chat.id,
            "contact_ids": [contact.id for contact in chat.contacts],
            "state": chat.state,
            "agent": chat.agent.name if chat.agent else None,
            "display_name": opening.display_name,
            "attributes": dict(chat.attributes),
            "client_token": opening.client_token,
            "content_types": sorted(opening.content_types),
            "disconnect_reason": chat.contact.reason,
            "related_contact_id": opening.related_contact_id,
            "continued_from": opening.continued_from,
            "customer_participant_id": chat.customer.id,
        }

    async def _wait(self, request: web.Request) -> web.Response:
        """Answers when a chat has so many items, or after `timeout` seconds."""
        try:
            chat = self._world.desk_chat(request.query.get("contact", ""))
            items = int(request.query.get("items", "1"))
            seconds = min(float(request.query.get("timeout", "10")), 60.0)
        except DeskError as error:
            return web.json_response({"error": str(error)}, status=error.status)
        except ValueError:
            return web.json_response({"error": "items and timeout are numbers"}, status=400)
        held = await self._world.wait_until(lambda: len(chat.items) >= items, seconds)
        return web.json_response({"reached": held, "items": len(chat.items)})

    # --- doing -----------------------------------------------------------------------------

    def _accept(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        agent = chat.accept(str(body.get("name") or "Mina"), body.get("participant"))
        return {"participant_id": agent.id}

    def _say(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        sender = self._speaker(chat, body)
        content_type = str(body.get("content_type") or PLAIN)
        chunks = body.get("chunks")
        if isinstance(chunks, list):
            item_id = chat.stream(
                sender, content_type, [str(one) for one in chunks], body.get("id")
            )
            return {"Id": item_id}
        text = body.get("text")
        if not isinstance(text, str) or not text:
            raise DeskError("missing: text")
        item = chat.add("MESSAGE", content_type, sender, text, item_id=body.get("id"))
        return item.entry()

    def _speaker(self, chat: Chat, body: Mapping[str, Any]) -> Participant:
        if chat.state == "ended":
            raise DeskError("the chat is ended", 409)
        match body.get("as", "agent"):
            case "flow":
                return chat.system
            case "bot":
                return Participant("CUSTOM_BOT", str(body.get("name") or "Bot"))
            case "agent":
                named = [one for one in chat.others if one.active and one.name == body.get("name")]
                agent = named[0] if named else chat.agent
                if agent is None:
                    raise DeskError("no agent is in the chat", 409)
                return agent
            case other:
                raise DeskError(f"as: {other!r} is none of agent, flow, bot")

    def _type(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        item: Item = chat.add("EVENT", TYPING, self._speaker(chat, body), stored=False)
        return item.body()

    def _transfer(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        if body.get("fail"):
            chat.fail_transfer()
        else:
            chat.transfer(str(body["to"]) if body.get("to") else None, body.get("participant"))
        return self._summary(chat)

    def _leave(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        chat.leave(body.get("name"))
        return self._summary(chat)

    def _join(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        role = str(body.get("role") or "SUPERVISOR")
        return {"participant_id": chat.join(str(body.get("name") or "Sam"), role).id}

    def _end(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        chat.end(str(body.get("reason") or "AGENT_DISCONNECT"))
        return self._summary(chat)

    def _attach(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        try:
            content = base64.b64decode(str(body.get("content_base64") or ""), validate=True)
        except binascii.Error:
            raise DeskError("content_base64 is not base64") from None
        name = str(body.get("name") or "")
        if not name:
            raise DeskError("missing: name")
        content_type = str(body.get("content_type") or "application/octet-stream")
        owner = self._speaker(chat, body)
        return self._attachments.add(chat, owner, name, content_type, content).entry()

    def _push(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        frame = body.get("frame")
        self._hub.push(chat, frame if isinstance(frame, str) else json.dumps(frame))
        return {}

    def _expire(self, chat: Chat, body: Mapping[str, Any]) -> Json:
        kind = body.get("what")
        if kind not in KINDS:
            raise DeskError(f"what: one of {', '.join(KINDS)}")
        return {"expired": self._world.tokens.expire(kind, chat.id)}

    def _drop(self, chat: Chat, _body: Mapping[str, Any]) -> Json:
        return {"dropped": self._hub.drop(chat)}

    # --- running it ------------------------------------------------------------------------

    def _forget(self, _request: web.Request, _body: Mapping[str, Any]) -> Json:
        self._world.client_tokens.forget()
        return {}

    def _settings(self, _request: web.Request, _body: Mapping[str, Any]) -> Json:
        return self._world.settings.as_dict()

    def _change(self, _request: web.Request, body: Mapping[str, Any]) -> Json:
        try:
            self._world.settings.patch(body)
        except ValueError as error:
            raise DeskError(str(error)) from None
        return self._world.settings.as_dict()

    def _requests(self, request: web.Request, _body: Mapping[str, Any]) -> Json:
        since = request.query.get("since", "0")
        if not since.isdecimal():
            raise DeskError("since is a number")
        return {"requests": self._log.since(int(since))}

    def _sockets(self, _request: web.Request, _body: Mapping[str, Any]) -> Json:
        return {"sockets": [socket.summary() for socket in self._hub.of()]}

    def _faults(self, _request: web.Request, _body: Mapping[str, Any]) -> Json:
        plan = self._world.faults
        return {
            "faults": [vars(fault) for fault in plan.faults.values()],
            "strikes": plan.log,
        }

    def _add_fault(self, _request: web.Request, body: Mapping[str, Any]) -> Json:
        try:
            return dict(vars(self._world.faults.add(body)))
        except (ValueError, TypeError) as error:
            raise DeskError(str(error)) from None

    def _clear_faults(self, request: web.Request, _body: Mapping[str, Any]) -> Json:
        self._world.faults.remove(request.match_info.get("fault"))
        return {}


def _answering(
    deed: Callable[[web.Request, Mapping[str, Any]], Json],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            raw = await request.read()
            body = json.loads(raw) if raw else {}
            if not isinstance(body, dict):
                raise DeskError("the body is a JSON object")
            return web.json_response(deed(request, body))
        except DeskError as error:
            return web.json_response({"error": str(error)}, status=error.status)
        except ValueError:
            return web.json_response({"error": "the body is not JSON"}, status=400)

    return answer
