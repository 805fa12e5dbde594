"""Clicks, shortcuts, commands and submitted views: what people do with the app's elements, and
the response addresses this hands out (docs: interactivity)."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from bridge.sandbox.slack import shapes
from bridge.sandbox.slack.composer import escape
from bridge.sandbox.slack.delivery import Courier, Delivery
from bridge.sandbox.slack.markup import normalised
from bridge.sandbox.slack.methods_views import Triggers
from bridge.sandbox.slack.model import Channel, Json, Message, User
from bridge.sandbox.slack.workspace import Draft, Workspace


class Interactions:
    """Payloads of type block_actions and their followers."""

    def __init__(self, workspace: Workspace, courier: Courier, triggers: Triggers) -> None:
        self._workspace = workspace
        self._world = workspace.world
        self._courier = courier
        self._triggers = triggers
        self._addresses: dict[str, _Address] = {}

    # Deeds of people

    def click(
        self, message: Message, user: User, action_id: str, value: Any, *, deliver: bool
    ) -> Json | None:
        """Use the element with this action id; None where the message has none. `value` is what
        is chosen in a select, its option's value."""
        for block, element in elements(message):
            if element.get("action_id") == action_id:
                payload = self._block_actions(message, user, block, element, value)
                if deliver:
                    self._courier.send(_interactive(payload, message.channel))
                return payload
        return None

    def shortcut(self, message: Message, user: User, callback_id: str) -> Json:
        """Use a message shortcut."""
        channel = self._world.channels[message.channel]
        payload = self._common("message_action", user) | {
            "action_ts": self._world.mint_ts(),
            "channel": {"id": channel.id, "name": _shown_name(channel)},
            "callback_id": callback_id,
            "trigger_id": self._triggers.issue(),
            "response_url": self._address(message, user),
            "message_ts": message.ts,
            "message": shapes.message(self._world, message),
        }
        self._courier.send(_interactive(payload, channel.id))
        return payload

    def command(self, channel: Channel, user: User, name: str, text: str) -> Json:
        """Type a slash command; it never carries a thread."""
        team = self._world.teams[user.team]
        payload: Json = {
            "token": self._world.app.verification_token,
            "team_id": team.id,
            "team_domain": team.domain,
            "channel_id": channel.id,
            "channel_name": _shown_name(channel),
            "user_id": user.id,
            "user_name": user.name,
            "command": name,
            "text": text,
            "api_app_id": self._world.app.id,
            "is_enterprise_install": "false",
            "response_url": self._address(Message(channel.id, {"ts": ""}), user),
            "trigger_id": self._triggers.issue(),
        }
        self._courier.send(
            Delivery("slash_commands", name, payload, channel=channel.id, accepts_payload=True)
        )
        return payload

    def submit(self, view: Json, user: User, values: Json) -> Json:
        """Press a modal's submit button; `values` is what its inputs hold."""
        payload = self._common("view_submission", user) | {
            "trigger_id": self._triggers.issue(),
            "view": view | {"state": {"values": values}},
            "response_urls": [],
        }
        self._courier.send(
            Delivery("interactive", "view_submission", payload, accepts_payload=True)
        )
        return payload

    def _common(self, kind: str, user: User) -> Json:
        team = self._world.teams[user.team]
        return {
            "type": kind,
            "user": {
                "id": user.id,
                "username": user.name,
                "name": user.name,
                "team_id": user.team,
            },
            "api_app_id": self._world.app.id,
            "token": self._world.app.verification_token,
            "team": {"id": team.id, "domain": team.domain},
            "enterprise": None,
            "is_enterprise_install": False,
        }

    def _block_actions(
        self, message: Message, user: User, block: Json, element: Json, value: Any
    ) -> Json:
        channel = self._world.channels[message.channel]
        container: Json = {
            "type": "message",
            "message_ts": message.ts,
            "channel_id": channel.id,
            "is_ephemeral": message.viewer is not None,
        }
        if message.thread_ts is not None:
            container["thread_ts"] = message.thread_ts
        action = _action(block, element, value) | {"action_ts": self._world.mint_ts()}
        payload = self._common("block_actions", user) | {
            "container": container,
            "trigger_id": self._triggers.issue(),
            "channel": {"id": channel.id, "name": _shown_name(channel)},
            "message": _escaped_labels(shapes.message(self._world, message)),
            "state": {"values": _state(message, action)},
            "response_url": self._address(message, user),
            "actions": [action],
        }
        if message.viewer is not None:
            del payload["message"]
        return payload

    # Response addresses

    def _address(self, message: Message, user: User) -> str:
        key = f"{self._world.app.id}/{secrets.randbelow(10**13)}/{secrets.token_urlsafe(18)}"
        settings = self._workspace.settings
        expires = time.monotonic() + settings.response_url_seconds
        self._addresses[key] = _Address(message, user.id, expires, settings.response_url_uses)
        return f"{self._world.base_url}/actions/{key}"

    async def respond(self, request: web.Request) -> web.Response:
        """A post to a response address."""
        address = self._addresses.get(request.match_info["key"])
        if address is None or address.expires < time.monotonic():
            return web.json_response({"ok": False, "error": "expired_url"}, status=404)
        if address.uses < 1:
            return web.json_response({"ok": False, "error": "used_url"}, status=404)
        try:
            body = json.loads(await request.read())
        except ValueError:
            return web.Response(status=400, text="invalid_payload")
        if not isinstance(body, dict):
            return web.Response(status=400, text="invalid_payload")
        address.uses -= 1
        self._apply(address, body)
        return web.Response(text="ok")

    def _apply(self, address: _Address, body: Json) -> None:
        message = address.message
        channel = self._world.channels[message.channel]
        draft = Draft(
            text=normalised(str(body.get("text") or "")),
            blocks=body.get("blocks") or [],
            attachments=body.get("attachments") or [],
            thread_ts=body.get("thread_ts"),
        )
        ephemeral = message in channel.ephemerals
        exists = ephemeral or channel.messages.get(message.ts) is message
        if exists and body.get("delete_original"):
            if ephemeral:
                channel.ephemerals.remove(message)
            else:
                self._workspace.delete(message)
        elif exists and body.get("replace_original"):
            changes = {"text": draft.text, "blocks": draft.blocks or None}
            if ephemeral:
                message.body |= {key: value or [] for key, value in changes.items()}
            else:
                self._workspace.edit(message, changes, editor=None)
        else:
            installation = self._world.installations[channel.team]
            if body.get("response_type") == "in_channel":
                self._workspace.post(installation, channel, draft)
            else:
                self._workspace.whisper(installation, channel, address.user, draft)


class _Address:
    """One response address: what it answers to, and what is left of it."""

    def __init__(self, message: Message, user: str, expires: float, uses: int) -> None:
        self.message = message
        self.user = user
        self.expires = expires
        self.uses = uses


def elements(message: Message) -> Iterator[tuple[Json, Json]]:
    """Every interactive element of a message with its block."""
    for block in message.body.get("blocks") or []:
        candidates = [*(block.get("elements") or []), block.get("accessory"), block.get("element")]
        for element in candidates:
            if isinstance(element, dict) and "action_id" in element:
                yield block, element


def _interactive(payload: Json, channel: str) -> Delivery:
    return Delivery("interactive", payload["type"], payload, channel=channel)


def _shown_name(channel: Channel) -> str:
    return {"im": "directmessage", "group": "privategroup"}.get(channel.kind, channel.name)


def _action(block: Json, element: Json, value: Any) -> Json:
    kind = str(element.get("type"))
    action: Json = {
        "type": kind,
        "action_id": element["action_id"],
        "block_id": block.get("block_id", ""),
    }
    if kind == "button":
        kept = {key: element[key] for key in ("text", "value", "style", "url") if key in element}
        return action | kept
    if kind in ("datepicker", "timepicker", "datetimepicker"):
        names = {"datepicker": "date", "timepicker": "time", "datetimepicker": "date_time"}
        return action | {f"selected_{names[kind]}": value}
    options = element.get("options") or [
        option for group in element.get("option_groups") or [] for option in group["options"]
    ]
    chosen = next((option for option in options if option.get("value") == value), None)
    if kind == "checkboxes":
        return action | {"selected_options": [chosen] if chosen else []}
    return action | {"selected_option": chosen}


def _state(message: Message, action: Json) -> Json:
    """The values of every input in the message; buttons have none."""
    values: Json = {}
    for block, element in elements(message):
        kind = element.get("type")
        if kind == "button":
            continue
        entry: Json = {"type": kind}
        if element["action_id"] == action["action_id"]:
            entry |= {key: value for key, value in action.items() if key.startswith("selected_")}
        else:
            entry["selected_option"] = element.get("initial_option")
        values.setdefault(block.get("block_id", ""), {})[element["action_id"]] = entry
    return values


def _escaped_labels(shape: Json) -> Json:
    """The copy of the message in an interaction has its labels escaped (as users of Bolt report)."""

    def escaped(value: Any) -> Any:
        if isinstance(value, dict):
            plain = value.get("type") == "plain_text"
            return {
                key: escape(inner) if plain and key == "text" else escaped(inner)
                for key, inner in value.items()
            }
        return [escaped(inner) for inner in value] if isinstance(value, list) else value

    return shape | ({"blocks": escaped(shape["blocks"])} if "blocks" in shape else {})
