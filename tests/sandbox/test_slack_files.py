"""Files both ways, through slack_sdk's upload and a plain download."""

from __future__ import annotations

import base64

import aiohttp
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from bridge.sandbox.slack.server import SlackSandbox
from tests.sandbox import slack_support
from tests.sandbox.slack_support import (
    ACME,
    ANA,
    BOT,
    BOT_TOKEN,
    EVA,
    HELP,
    Person,
    listening,
    until,
)

person, slack, web = slack_support.person, slack_support.slack, slack_support.web


async def test_an_upload_appears_a_little_later_in_its_thread(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    root = (await person.say("x"))["ts"]
    answer = await web.files_upload_v2(
        channel=HELP,
        thread_ts=root,
        content="hello",
        filename="a.txt",
        title="A",
        alt_txt="alt",
        initial_comment="see & read",
    )
    file_id = answer["files"][0]["id"]
    assert answer["files"][0]["shares"] == {}
    assert len(slack.world.channels[HELP].messages) == 1
    await until(lambda: len(slack.world.channels[HELP].messages) == 2)
    message = (await web.conversations_replies(channel=HELP, ts=root))["messages"][1]
    assert (message["subtype"], message["text"]) == ("file_share", "see &amp; read")
    assert (message["user"], message["bot_id"]) == (BOT, "B0SB000001")
    info = (await web.files_info(file=file_id))["file"]
    (share,) = info["shares"]["public"][HELP]
    assert (share["ts"], share["thread_ts"]) == (message["ts"], root)
    assert (info["size"], info["title"], info["alt_txt"]) == (5, "A", "alt")
    assert info["channels"] == [HELP]
    headers = {"Authorization": f"Bearer {BOT_TOKEN}"}
    async with person.session.get(info["url_private_download"], headers=headers) as response:
        assert (response.status, await response.read()) == (200, b"hello")
        assert response.content_type == "text/plain"
    types = [d["type"] for d in await person.deliveries()]
    assert types == ["message", "message", "file_shared"]


async def test_a_multipart_upload(slack: SlackSandbox, person: Person, web: AsyncWebClient) -> None:
    step = await web.files_getUploadURLExternal(filename="b.bin", length=3)
    form = aiohttp.FormData()
    form.add_field("file", b"\x00\x01\x02", filename="b.bin")
    async with person.session.post(step["upload_url"], data=form) as response:
        assert (response.status, await response.text()) == (200, "OK - 3")
    done = await web.files_completeUploadExternal(files=[{"id": step["file_id"]}], channel_id=HELP)
    assert done["files"][0]["size"] == 3


async def test_what_an_upload_may_not_do(person: Person, web: AsyncWebClient) -> None:
    async def error_of(call: object) -> str:
        with pytest.raises(SlackApiError) as caught:
            await call  # type: ignore[misc]  # an awaitable of slack_sdk
        return str(caught.value.response["error"])

    empty = web.files_getUploadURLExternal(filename="a.txt", length=0)
    assert await error_of(empty) == "missing_argument"
    step = await web.files_getUploadURLExternal(filename="a.txt", length=1)
    entry = [{"id": step["file_id"]}]
    unsent = web.files_completeUploadExternal(files=entry, channel_id=HELP)
    assert await error_of(unsent) == "file_not_found"
    async with person.session.post(step["upload_url"], data=b"x") as response:
        assert response.status == 200
    nowhere = web.files_completeUploadExternal(files=entry, channel_id="C404")
    assert await error_of(nowhere) == "channel_not_found"
    await web.files_completeUploadExternal(files=entry, channel_id=HELP)
    again = web.files_completeUploadExternal(files=entry, channel_id=HELP)
    assert await error_of(again) == "file_not_found"
    async with person.session.post(step["upload_url"], data=b"y") as response:
        assert response.status == 404
    assert await error_of(web.files_info(file="F404")) == "file_not_found"


async def test_a_persons_file_and_who_may_fetch_it(person: Person, web: AsyncWebClient) -> None:
    content = bytes(range(256)) * 10
    file = {
        "name": "photo.png",
        "mimetype": "image/png",
        "content_base64": base64.b64encode(content).decode(),
    }
    message = await person.do("messages", channel=HELP, user=ANA, text="look", files=[file])
    assert message["subtype"] == "file_share"
    assert "client_msg_id" not in message
    (shown,) = message["files"]
    assert (shown["mimetype"], shown["size"], shown["mode"]) == ("image/png", 2560, "hosted")
    url = shown["url_private"]
    for headers in ({}, {"Authorization": "Bearer xoxb-wrong"}):
        async with person.session.get(url, headers=headers) as response:
            assert (response.status, response.content_type) == (200, "text/html")
            assert (await response.text()).lower().startswith("<!doctype html")
    token = {"Authorization": f"Bearer {BOT_TOKEN}"}
    async with person.session.get(url, headers=token) as response:
        assert await response.read() == content
    await person.do("settings", "PATCH", granted_scopes=["chat:write"])
    async with person.session.get(url, headers=token) as response:
        assert response.content_type == "text/html"


async def test_an_outsiders_file_is_a_stub_in_the_event(
    slack: SlackSandbox, person: Person, web: AsyncWebClient
) -> None:
    file = {"name": "x.txt", "content_base64": base64.b64encode(b"x").decode()}
    async with listening(slack) as listener:
        await person.do("messages", channel=ACME, user=EVA, files=[file])
        await until(lambda: listener.requests)
        (stub,) = listener.events[0]["files"]
        assert listener.requests[0].payload["is_ext_shared_channel"] is True
    assert (stub["mode"], stub["file_access"]) == ("file_access", "check_file_info")
    assert "url_private" not in stub
    (message,) = (await web.conversations_history(channel=ACME))["messages"]
    assert message["files"][0]["name"] == "x.txt"
    full = (await web.files_info(file=stub["id"]))["file"]
    assert full["url_private"].startswith(slack.url)


async def test_deleting_a_file(slack: SlackSandbox, web: AsyncWebClient) -> None:
    answer = await web.files_upload_v2(channel=HELP, content="hello", filename="a.txt")
    await until(lambda: slack.world.channels[HELP].messages)
    await web.files_delete(file=answer["files"][0]["id"])
    (message,) = (await web.conversations_history(channel=HELP))["messages"]
    assert message["files"] == []
