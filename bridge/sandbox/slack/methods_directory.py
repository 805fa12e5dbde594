"""auth, users, teams, groups, emoji and the app's own methods (docs: their reference pages)."""

from __future__ import annotations

from bridge.sandbox.slack import emoji, shapes
from bridge.sandbox.slack.delivery import authorization
from bridge.sandbox.slack.model import Json, User
from bridge.sandbox.slack.paging import page
from bridge.sandbox.slack.settings import Settings
from bridge.sandbox.slack.socket_mode import SocketMode
from bridge.sandbox.slack.web_api import ApiError, Call, Method
from bridge.sandbox.slack.world import World


class DirectoryMethods:
    """Who is who."""

    def __init__(self, world: World) -> None:
        self._world = world

    def table(self) -> dict[str, Method]:
        """Name to method."""
        read = ("users:read",)
        groups = ("usergroups:read",)
        return {
            "api.test": Method(self.api_test, token="none"),  # noqa: S106 - a kind of token
            "auth.test": Method(self.auth_test),
            "users.info": Method(self.info, read),
            "users.list": Method(self.list_users, read),
            "users.lookupByEmail": Method(self.by_email, ("users:read.email",)),
            "bots.info": Method(self.bot, read),
            "team.info": Method(self.team, ("team:read",)),
            "emoji.list": Method(self.emoji, ("emoji:read",)),
            "usergroups.list": Method(self.groups, groups),
            "usergroups.users.list": Method(self.group_users, groups),
        }

    def api_test(self, call: Call) -> Json:
        """api.test echoes its arguments; `error` makes it fail."""
        if call.text("error"):
            raise ApiError(call.text("error"), args=dict(call.params))
        return {"args": dict(call.params)} if call.params else {}

    def auth_test(self, call: Call) -> Json:
        """auth.test."""
        team = self._world.teams[call.bot.team]
        return {
            "url": f"https://{team.domain}.slack.com/",
            "team": team.name,
            "user": self._world.users[call.bot.bot_user].name,
            "team_id": team.id,
            "user_id": call.bot.bot_user,
            "bot_id": call.bot.bot_id,
            "is_enterprise_install": False,
        }

    def info(self, call: Call) -> Json:
        """users.info."""
        person = self._world.users.get(call.required("user", "user_not_found"))
        if person is None:
            raise ApiError("user_not_found")
        return {"user": self._user(call, person)}

    def list_users(self, call: Call) -> Json:
        """users.list: the workspace's own people, and strangers who share a channel."""
        shown, metadata = page(call, list(self._world.users.values()))
        return {
            "members": [self._user(call, person) for person in shown],
            "cache_ts": max(person.updated for person in self._world.users.values()),
            **metadata,
        }

    def by_email(self, call: Call) -> Json:
        """users.lookupByEmail: never strangers."""
        wanted = call.required("email", "users_not_found").lower()
        for person in self._world.users.values():
            if person.email == wanted and person.team == call.bot.team:
                return {"user": self._user(call, person)}
        raise ApiError("users_not_found")

    def bot(self, call: Call) -> Json:
        """bots.info."""
        installation = self._world.bot_of(call.required("bot", "bot_not_found"))
        if installation is None:
            raise ApiError("bot_not_found")
        return {"bot": shapes.bot(self._world, installation)}

    def team(self, call: Call) -> Json:
        """team.info."""
        team = self._world.teams.get(call.text("team") or call.bot.team)
        if team is None:
            raise ApiError("team_not_found")
        icon = {"image_68": f"https://avatars.invalid/team/{team.id}/68", "image_default": True}
        return {
            "team": {
                "id": team.id,
                "name": team.name,
                "url": f"https://{team.domain}.slack.com/",
                "domain": team.domain,
                "email_domain": "",
                "icon": icon,
                "avatar_base_url": "https://avatars.invalid/",
                "is_verified": False,
            }
        }

    def emoji(self, call: Call) -> Json:
        """emoji.list: the custom ones only."""
        home = f"https://{self._world.teams[call.bot.team].domain}.slack.com"
        shown = {name: f"{home}/{path}" for name, path in emoji.CUSTOM.items()}
        return {"emoji": shown, "cache_ts": "1700000000.000000"}

    def groups(self, call: Call) -> Json:
        """usergroups.list."""
        users = call.flag("include_users")
        own = [g for g in self._world.groups.values() if g.team == call.bot.team]
        return {"usergroups": [shapes.group(g, users=users) for g in own]}

    def group_users(self, call: Call) -> Json:
        """usergroups.users.list."""
        group = self._world.groups.get(call.required("usergroup", "no_such_subteam"))
        if group is None:
            raise ApiError("no_such_subteam")
        return {"users": list(group.users)}

    def _user(self, call: Call, person: User) -> Json:
        return shapes.user(
            self._world,
            person,
            call.bot.team,
            email="users:read.email" in call.scopes,
            locale=call.flag("include_locale"),
        )


class AppMethods:
    """What the app token opens."""

    def __init__(self, world: World, settings: Settings, sockets: SocketMode) -> None:
        self._world = world
        self._settings = settings
        self._sockets = sockets

    def table(self) -> dict[str, Method]:
        """Name to method."""
        app = "app"
        return {
            "apps.connections.open": Method(self.open, token=app),
            "apps.event.authorizations.list": Method(self.authorizations, token=app),
        }

    def open(self, call: Call) -> Json:
        """apps.connections.open. A token given as a parameter never gets here."""
        if self._settings.transport != "socket":
            raise ApiError("socket_mode_not_enabled")
        if call.params.get("app_id") not in (None, self._world.app.id):
            raise ApiError("invalid_arguments")
        return {"url": self._sockets.issue_url()}

    def authorizations(self, call: Call) -> Json:
        """apps.event.authorizations.list: every installation that the event is visible to."""
        if not call.text("event_context").startswith("4-"):
            raise ApiError("invalid_event_context")
        found = [authorization(i) for i in self._world.installations.values()]
        shown, metadata = page(call, found)
        return {"authorizations": shown, **metadata}
