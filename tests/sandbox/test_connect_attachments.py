from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.sandbox.connect_support import Chat, Connect, contents, refused, running

DATA = b"%PDF-1.7 not really"


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    async with running() as one:
        yield one


async def announce(chat: Chat, **members: Any) -> dict[str, Any]:
    members = {
        "AttachmentName": "invoice.pdf",
        "ContentType": "application/pdf",
        "AttachmentSizeInBytes": len(DATA),
        "ClientToken": "announce",
    } | members
    return await chat.call("start_attachment_upload", **members)


async def put(chat: Chat, upload: dict[str, Any], data: bytes = DATA, **headers: str) -> str:
    """Upload; answers the error code of the store, or the empty string."""
    metadata = upload["UploadMetadata"]
    headers = metadata["HeadersToInclude"] | headers
    async with chat.connect.http.put(metadata["Url"], data=data, headers=headers) as answer:
        text = await answer.text()
        assert (answer.status == 200) == (text == "")
        if text:
            assert answer.status == 403
            assert answer.content_type == "application/xml"
        return text.partition("<Code>")[2].partition("</Code>")[0]


async def complete(chat: Chat, upload: dict[str, Any], token: str = "complete") -> None:
    await chat.call(
        "complete_attachment_upload", AttachmentIds=[upload["AttachmentId"]], ClientToken=token
    )


async def test_a_file_goes_up_and_comes_down(connect: Connect) -> None:
    async with connect.talking() as (chat, stream):
        upload = await announce(chat, AttachmentName="r\u00e9sum\u00e9 1.pdf")
        included = upload["UploadMetadata"]["HeadersToInclude"]
        assert included["Content-Length"] == str(len(DATA))
        assert included["x-amz-meta-initial_contact_id"] == chat.id
        assert await put(chat, upload) == ""
        await complete(chat, upload)
        first, second = await stream.items(2)
        assert first["Id"] == second["Id"]
        assert "ContentType" not in first
        assert (first["Type"], first["ParticipantRole"]) == ("ATTACHMENT", "CUSTOMER")
        assert first["Attachments"] == [
            {
                "AttachmentId": upload["AttachmentId"],
                "AttachmentName": "r\u00e9sum\u00e9 1.pdf",
                "ContentType": "application/pdf",
                "Status": "IN_PROGRESS",
            }
        ]
        assert second["Attachments"][0]["Status"] == "APPROVED"
        stored = (await chat.transcript())[-1]
        assert stored["Attachments"] == second["Attachments"]
        got = await chat.call(
            "get_attachment", AttachmentId=upload["AttachmentId"], UrlExpiryInSeconds=5
        )
        assert got["AttachmentSizeInBytes"] == len(DATA)
        async with connect.http.get(got["Url"]) as answer:
            assert await answer.read() == DATA
            assert answer.content_type == "application/pdf"
            assert answer.headers["Content-Disposition"].startswith("attachment;")


async def test_the_upload_has_exactly_the_signed_headers(connect: Connect) -> None:
    chat = await connect.chat()
    upload = await announce(chat)
    changed: list[dict[str, Any]] = [
        {"Content-Type": "text/plain"},
        {"Authorization": "Bearer x"},
        {"X-Amz-Bearer": chat.token},
        {"x-amz-acl": "public-read"},
        {"x-amz-meta-more": "x"},
    ]
    for headers in changed:
        assert await put(chat, upload, **headers) == "SignatureDoesNotMatch"
    assert await put(chat, upload, DATA + b"!", **{"Content-Length": str(len(DATA) + 1)}) == (
        "SignatureDoesNotMatch"
    )
    missing = dict(upload["UploadMetadata"]["HeadersToInclude"])
    del missing["x-amz-acl"]
    bare = {"UploadMetadata": upload["UploadMetadata"] | {"HeadersToInclude": missing}}
    assert await put(chat, bare) == "SignatureDoesNotMatch"
    assert await put(chat, upload) == ""


async def test_a_chunked_upload_is_refused(connect: Connect) -> None:
    chat = await connect.chat()
    upload = await announce(chat)
    headers = dict(upload["UploadMetadata"]["HeadersToInclude"])
    del headers["Content-Length"]

    async def parts() -> AsyncIterator[bytes]:
        yield DATA

    url = upload["UploadMetadata"]["Url"]
    async with connect.http.put(url, data=parts(), headers=headers) as answer:
        assert answer.status == 403
        assert "SignatureDoesNotMatch" in await answer.text()


async def test_an_upload_url_works_once_and_in_time(connect: Connect) -> None:
    chat = await connect.chat()
    upload = await announce(chat)
    assert await put(chat, upload) == ""
    assert await put(chat, upload) == ""
    assert await put(chat, upload, DATA[::-1]) == "AccessDenied"
    await complete(chat, upload)
    assert await put(chat, upload) == "AccessDenied"
    connect.settings.upload_url_seconds = 0.0
    late = await announce(chat, ClientToken="late")
    assert await put(chat, late) == "AccessDenied"
    url = upload["UploadMetadata"]["Url"]
    async with connect.http.get(url) as answer:
        assert answer.status == 403
    async with connect.http.put(url.replace("Signature=", "Signature=0")) as answer:
        assert answer.status == 403


async def test_an_upload_is_completed_once_and_only_when_it_is_there(connect: Connect) -> None:
    chat = await connect.chat()
    upload = await announce(chat)
    with refused("ValidationException", 400):
        await complete(chat, upload)
    await put(chat, upload)
    await complete(chat, upload)
    await complete(chat, upload)  # The same ClientToken: the same answer.
    with refused("ConflictException", 409):
        await complete(chat, upload, "another")
    for ids in ([upload["AttachmentId"], "second"], ["unknown"]):
        with refused("ValidationException", 400):
            await chat.call("complete_attachment_upload", AttachmentIds=ids, ClientToken="x")
    assert contents(await chat.transcript()) == ["file"]


async def test_an_announcement_is_repeated_by_its_client_token(connect: Connect) -> None:
    chat = await connect.chat()
    assert (await announce(chat))["AttachmentId"] == (await announce(chat))["AttachmentId"]


@pytest.mark.parametrize(
    "members",
    [
        {"AttachmentName": "movie.gif", "ContentType": "image/gif"},
        {"AttachmentName": "noextension"},
        {"AttachmentName": "invoice.pdf", "ContentType": "text/plain"},
        {"AttachmentName": "x" * 257 + ".pdf"},
        {"AttachmentSizeInBytes": 20 * 1024 * 1024 + 1},
    ],
)
async def test_types_names_and_sizes_have_limits(connect: Connect, members: dict[str, Any]) -> None:
    chat = await connect.chat()
    with refused("ValidationException", 400):
        await announce(chat, **members)


async def test_an_added_extension_may_have_any_type_that_is_one(connect: Connect) -> None:
    connect.settings.attachment_extensions.append("gif")
    chat = await connect.chat()
    await announce(chat, AttachmentName="a.GIF", ContentType="image/gif")
    with refused("ValidationException", 400):
        await announce(chat, AttachmentName="a.gif", ContentType="x\r\nA: b", ClientToken="2")


async def test_the_number_of_attachments_has_a_limit_and_they_can_be_off(
    connect: Connect,
) -> None:
    connect.settings.attachments_per_chat = 1
    chat = await connect.chat()
    await announce(chat)
    with refused("ServiceQuotaExceededException", 402):
        await announce(chat, ClientToken="second")
    connect.settings.attachments_enabled = False
    with refused("AccessDeniedException", 403):
        await announce(chat, ClientToken="third")


async def test_a_rejected_file_is_gone(connect: Connect) -> None:
    connect.settings.attachment_scan = "reject"
    async with connect.talking() as (chat, stream):
        upload = await announce(chat)
        await put(chat, upload)
        await complete(chat, upload)
        statuses = [each["Attachments"][0]["Status"] for each in await stream.items(2)]
        assert statuses == ["IN_PROGRESS", "REJECTED"]
        with refused("ValidationException", 400):
            await chat.call("get_attachment", AttachmentId=upload["AttachmentId"])


async def test_a_file_that_is_still_scanned_cannot_be_fetched(connect: Connect) -> None:
    connect.settings.attachment_scan = "hold"
    chat = await connect.chat()
    upload = await announce(chat)
    await put(chat, upload)
    await complete(chat, upload)
    with refused("ValidationException", 400):
        await chat.call("get_attachment", AttachmentId=upload["AttachmentId"])
    other = await connect.chat()
    with refused("ValidationException", 400):
        await other.call("get_attachment", AttachmentId=upload["AttachmentId"])


async def test_without_a_scanner_a_file_is_approved_at_once(connect: Connect) -> None:
    connect.settings.scan_seconds = None
    async with connect.talking() as (chat, stream):
        await chat.desk(
            "attachments",
            name="plan.txt",
            content_type="text/plain",
            content_base64=base64.b64encode(b"the plan").decode(),
        )
        item = await stream.item()
        assert (item["ParticipantRole"], item["DisplayName"]) == ("AGENT", "Mina")
        [attachment] = item["Attachments"]
        assert attachment["Status"] == "APPROVED"
        got = await chat.call(
            "get_attachment",
            AttachmentId=attachment["AttachmentId"],
            UrlContentDisposition="INLINE",
        )
        async with connect.http.get(got["Url"]) as answer:
            assert await answer.read() == b"the plan"
            assert answer.headers["Content-Disposition"].startswith("inline;")
        with refused("ValidationException", 400):
            await chat.call(
                "get_attachment",
                AttachmentId=attachment["AttachmentId"],
                UrlExpiryInSeconds=301,
            )


async def test_the_stores_urls_suffer_faults_too(connect: Connect) -> None:
    chat = await connect.chat()
    upload = await announce(chat)
    await connect.fault("throttle", "UploadAttachment")
    metadata = upload["UploadMetadata"]
    async with connect.http.put(
        metadata["Url"], data=DATA, headers=metadata["HeadersToInclude"]
    ) as answer:
        assert answer.status == 503
        assert "SlowDown" in await answer.text()
    await connect.fault("no_answer", "UploadAttachment")
    assert await put(chat, upload) == ""  # aiohttp itself repeats a PUT that was not answered.
    await complete(chat, upload)
    [failed, unanswered, repeated] = await connect.requests("UploadAttachment")
    assert (failed["status"], failed["fault"]) == (503, "throttle")
    assert (unanswered["status"], unanswered["fault"]) == (None, "no_answer")
    assert (repeated["status"], repeated["fault"]) == (200, None)
