"""views.*, and the trigger ids that open them (docs: modals; interactivity)."""

from __future__ import annotations

import secrets
import time

from bridge.sandbox.slack.model import Json
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.web_api import ApiError, Call, Method
from bridge.sandbox.slack.world import World

MAX_PRIVATE_METADATA = 3_000
MAX_VIEW_BLOCKS = 100


class Triggers:
    """Trigger ids: each opens one view, within seconds of the gesture."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._expiry: dict[str, float] = {}

    def issue(self) -> str:
        """A new one."""
        trigger = f"{secrets.randbelow(10**13)}.{secrets.randbelow(10**13)}.{secrets.token_hex(16)}"
        self._expiry[trigger] = time.monotonic() + self._settings.trigger_seconds
        return trigger

    def spend(self, trigger: str) -> None:
        """Use one up. Raises ApiError as Slack names it."""
        if not trigger:
            raise ApiError("invalid_arguments")
        expires = self._expiry.get(trigger)
        if expires is None:
            raise ApiError("invalid_trigger_id")
        if expires == 0.0:
            raise ApiError("exchanged_trigger_id")
        if expires < time.monotonic():
            raise ApiError("expired_trigger_id")
        self._expiry[trigger] = 0.0


class ViewMethods:
    """Modals and homes."""

    def __init__(self, world: World, triggers: Triggers) -> None:
        self._world = world
        self._triggers = triggers

    def table(self) -> dict[str, Method]:
        """Name to method."""
        return {
            "views.open": Method(self.open_view),
            "views.push": Method(self.open_view),
            "views.update": Method(self.update_view),
            "views.publish": Method(self.publish_view),
        }

    def open_view(self, call: Call) -> Json:
        """views.open and views.push."""
        given = _view(call)
        self._triggers.spend(call.text("trigger_id"))
        view = self._stored(call, given, self._world.mint("V"))
        self._world.views[view["id"]] = view
        return {"view": view}

    def update_view(self, call: Call) -> Json:
        """views.update, by view id or external id."""
        given = _view(call)
        wanted, external = call.text("view_id"), call.text("external_id")
        view = next(
            (
                v
                for v in self._world.views.values()
                if v["id"] == wanted or (external and v["external_id"] == external)
            ),
            None,
        )
        if view is None:
            raise ApiError("not_found")
        if call.text("hash") and call.text("hash") != view["hash"]:
            raise ApiError("hash_conflict")
        updated = self._stored(call, given, view["id"])
        self._world.views[view["id"]] = updated
        return {"view": updated}

    def publish_view(self, call: Call) -> Json:
        """views.publish."""
        given = _view(call)
        user = call.required("user_id")
        if user not in self._world.users:
            raise ApiError("user_not_found")
        current = self._world.homes.get(user)
        if current and call.text("hash") and call.text("hash") != current["hash"]:
            raise ApiError("hash_conflict")
        view = self._stored(call, given, current["id"] if current else self._world.mint("V"))
        self._world.homes[user] = view
        return {"view": view}

    def _stored(self, call: Call, given: Json, view_id: str) -> Json:
        return {
            "id": view_id,
            "team_id": call.bot.team,
            "type": given["type"],
            "title": given.get("title"),
            "close": given.get("close"),
            "submit": given.get("submit"),
            "blocks": given.get("blocks", []),
            "private_metadata": given.get("private_metadata", ""),
            "callback_id": given.get("callback_id", ""),
            "external_id": given.get("external_id", ""),
            "state": {"values": {}},
            "hash": f"{int(time.time())}.{secrets.token_hex(4)}",
            "clear_on_close": bool(given.get("clear_on_close")),
            "notify_on_close": bool(given.get("notify_on_close")),
            "root_view_id": view_id,
            "previous_view_id": None,
            "app_id": self._world.app.id,
            "app_installed_team_id": call.bot.team,
            "bot_id": call.bot.bot_id,
        }


def _view(call: Call) -> Json:
    view = call.value("view")
    if not isinstance(view, dict) or view.get("type") not in ("modal", "home"):
        raise ApiError("invalid_arguments")
    too_long = len(str(view.get("private_metadata", ""))) > MAX_PRIVATE_METADATA
    if too_long or len(view.get("blocks", [])) > MAX_VIEW_BLOCKS:
        raise ApiError("invalid_arguments")
    return view
