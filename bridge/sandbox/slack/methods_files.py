"""files.* and the file host: upload addresses, and downloads that need the bot's token (docs:
working with files)."""

from __future__ import annotations

import asyncio
import mimetypes
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web

from bridge.sandbox.slack import shapes
from bridge.sandbox.slack.blocks import checked_blocks
from bridge.sandbox.slack.lookup import Lookup
from bridge.sandbox.slack.markup import normalised
from bridge.sandbox.slack.model import Channel, File, Installation, Json
from bridge.sandbox.slack.web_api import ApiError, Call, Method
from bridge.sandbox.slack.workspace import Draft, Workspace

MAX_ALT_TEXT = 1_000
MAX_CHANNELS = 100
SIGN_IN_PAGE = (
    "<!DOCTYPE html>\n<html><head><title>Sign in | Slack</title></head><body></body></html>"
)
OCTETS = "application/octet-stream"


def new_file(
    workspace: Workspace, name: str, *, mimetype: str, content: bytes, user: str, team: str
) -> File:
    """A file in the world, not yet shared."""
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    file = File(
        id=workspace.world.mint("F"),
        name=name,
        title=name,
        mimetype=mimetype or mimetypes.guess_type(name)[0] or OCTETS,
        filetype=suffix or "binary",
        user=user,
        user_team=team,
        created=int(time.time()),
        content=content,
    )
    workspace.world.files[file.id] = file
    return file


class FileMethods:
    """Files of the app, and everyone's files for download."""

    def __init__(
        self,
        workspace: Workspace,
        lookup: Lookup,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._workspace = workspace
        self._world = workspace.world
        self._lookup = lookup
        self._spawn = spawn
        self._uploads: dict[str, str] = {}

    def table(self) -> dict[str, Method]:
        """Name to method."""
        write, read = ("files:write",), ("files:read",)
        return {
            "files.getUploadURLExternal": Method(self.upload_url, write),
            "files.completeUploadExternal": Method(self.complete, write),
            "files.info": Method(self.info, read),
            "files.delete": Method(self.delete, write),
        }

    def upload_url(self, call: Call) -> Json:
        """files.getUploadURLExternal."""
        name = call.required("filename", "missing_argument")
        if call.number("length", 0) < 1:
            raise ApiError("missing_argument")
        if len(call.text("alt_txt")) > MAX_ALT_TEXT:
            raise ApiError("alt_txt_too_large")
        file = new_file(
            self._workspace,
            name,
            mimetype="",
            content=b"",
            user=call.bot.bot_user,
            team=call.bot.team,
        )
        file.alt_text = call.text("alt_txt")
        key = secrets.token_urlsafe(24)
        self._uploads[key] = file.id
        return {
            "upload_url": f"{self._world.base_url}/upload/v1/{key}",
            "file_id": file.id,
        }

    def complete(self, call: Call) -> Json:
        """files.completeUploadExternal: once for each file; the message follows a little later."""
        entries = call.value("files")
        if not isinstance(entries, list) or not entries:
            raise ApiError("invalid_arguments")
        files = [self._uploaded(call, entry) for entry in entries]
        channels = self._targets(call)
        blocks = [] if call.text("initial_comment") else checked_blocks(call)
        draft = Draft(
            text=normalised(call.text("initial_comment")),
            blocks=blocks,
            thread_ts=call.text("thread_ts") or None,
        )
        for file, entry in zip(files, entries, strict=True):
            file.complete = True
            file.title = str(entry.get("title") or file.name)
        if channels:
            self._spawn(self._share_later(call.bot, channels, draft, files))
        return {"files": [shapes.file(self._world, file) | {"shares": {}} for file in files]}

    def info(self, call: Call) -> Json:
        """files.info, with where the file is shown."""
        file = self._file(call.required("file", "file_not_found"))
        shape = shapes.file(self._world, file) | {"shares": shapes.shares(self._world, file)}
        places: dict[str, list[str]] = {"channels": [], "groups": [], "ims": []}
        for channel_id in file.shares:
            kind = self._world.channels[channel_id].kind
            places[{"channel": "channels", "im": "ims"}.get(kind, "groups")].append(channel_id)
        return {
            "file": shape | places,
            "comments": [],
            "response_metadata": {"next_cursor": ""},
        }

    def delete(self, call: Call) -> Json:
        """files.delete: the app's own."""
        file = self._file(call.required("file", "file_not_found"))
        if file.user != call.bot.bot_user:
            raise ApiError("cant_delete_file")
        for channel_id, stamps in file.shares.items():
            for ts in stamps:
                message = self._world.channels[channel_id].messages.get(ts)
                if message is not None:
                    message.body["files"].remove(file.id)
        del self._world.files[file.id]
        return {}

    # The file host

    async def receive(self, request: web.Request) -> web.Response:
        """The upload address: raw bytes or a form with one file, no token."""
        file = self._world.files.get(self._uploads.get(request.match_info["key"], ""))
        if file is None or file.complete:
            return web.Response(status=404, text="not found")
        if request.content_type.startswith("multipart/"):
            form = await request.post()
            parts = [part for part in form.values() if isinstance(part, web.FileField)]
            file.content = parts[0].file.read() if parts else b""
        else:
            file.content = await request.read()
        return web.Response(text=f"OK - {len(file.content)}")

    async def download(self, request: web.Request) -> web.Response:
        """`url_private` and `url_private_download`. Without the right token or scope Slack
        answers 200 with its sign-in page."""
        file = self._world.files.get(request.match_info["key"].rpartition("-")[2])
        token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        known = token in {i.token for i in self._world.installations.values()}
        allowed = known and "files:read" in self._workspace.settings.granted_scopes
        if not allowed:
            return web.Response(text=SIGN_IN_PAGE, content_type="text/html")
        if file is None:
            return web.Response(status=404, text="", content_type="text/html")
        headers = {"Content-Type": file.mimetype}
        if "/download/" in request.path:
            name = file.name.replace('"', "")
            headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return web.Response(body=file.content, headers=headers)

    # Parts

    def _file(self, file_id: str) -> File:
        file = self._world.files.get(file_id)
        if file is None:
            raise ApiError("file_not_found")
        return file

    def _uploaded(self, call: Call, entry: Json) -> File:
        file = self._world.files.get(str(entry.get("id")))
        if file is None or file.complete or file.user != call.bot.bot_user or not file.content:
            raise ApiError("file_not_found")
        return file

    def _targets(self, call: Call) -> list[Channel]:
        ids = [call.text("channel_id"), *call.text("channels").split(",")]
        wanted = list(dict.fromkeys(key for key in ids if key))
        if len(wanted) > MAX_CHANNELS:
            raise ApiError("invalid_arguments")
        channels = []
        for key in wanted:
            channel = self._world.channels.get(key)
            if channel is None:
                raise ApiError("channel_not_found")
            if channel.archived:
                raise ApiError("is_archived")
            if call.bot.bot_user not in channel.members:
                raise ApiError("not_in_channel")
            channels.append(channel)
        return channels

    async def _share_later(
        self, bot: Installation, channels: list[Channel], draft: Draft, files: list[File]
    ) -> None:
        await asyncio.sleep(self._workspace.settings.share_seconds)
        for channel in channels:
            self._workspace.share(bot, channel, draft, files)
