"""The bytes of both platforms, as near to real ones in shape and size as documents show them.

Whatever does not change from message to message is made once. Message number `n` carries `n` in
its text, by which the other side knows it again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping

TEAM, BOT_USER, BOT, APP, USER = "T0BENCH00", "U0BENCHBOT", "B0BENCHBOT", "A0BENCH00", "U0BENCHANA"
TOKEN_LENGTH = 640
"""Of participant and connection tokens, which are opaque and long."""
HISTORY = 30
"""Items that a chat has had before the run: it is one in the middle of its life."""
HISTORY_BEGAN = round(time.time()) - 3600.0
"""Its last item is the customer's."""

_MARK = b"[message "
_TEXT = (
    b"[message %08d] Hello, since this morning our site in Lyon cannot reach the printers any "
    b"more. Could somebody have a look?"
)
_FIELD = re.compile("«([a-z]+)»")


class Template:
    """JSON that was made once; `«name»` in a text is a field, filled with bytes."""

    def __init__(self, value: object) -> None:
        text = json.dumps(value, ensure_ascii=False).replace("%", "%%")
        self._template = _FIELD.sub(r"%(\1)s", text).encode()

    def fill(self, fields: Mapping[bytes, bytes]) -> bytes:
        return self._template % fields


def number_in(text: bytes) -> int | None:
    """Which message this carries."""
    at = text.find(_MARK)
    return None if at < 0 else int(text[at + 9 : at + 17])


def stamp(seconds: float | None = None) -> str:
    """Connect's form of a time."""
    now = time.time() if seconds is None else seconds
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"


# --- Slack ---------------------------------------------------------------------------------------


def channel(index: int) -> str:
    return f"C{index:08d}"


def thread(index: int) -> str:
    return f"{1700000000 + index}.000100"


def index_of_channel(body: bytes) -> int:
    """Which conversation a chat.postMessage is for."""
    at = body.index(b'"C0') + 2
    return int(body[at : at + 8])


def _envelope(author: Mapping[str, object]) -> Template:
    """A Socket Mode envelope that holds a message in the thread."""
    section = {"type": "rich_text_section", "elements": [{"type": "text", "text": "«text»"}]}
    event = {
        "type": "message",
        "ts": "«ts»",
        "text": "«text»",
        "team": TEAM,
        "blocks": [{"type": "rich_text", "block_id": "b1kQ", "elements": [section]}],
        "thread_ts": "«thread»",
        "parent_user_id": USER,
        "channel": "«channel»",
        "event_ts": "«ts»",
        "channel_type": "channel",
    }
    authorization = {
        "enterprise_id": None,
        "team_id": TEAM,
        "user_id": BOT_USER,
        "is_bot": True,
        "is_enterprise_install": False,
    }
    payload = {
        "token": "v" * 24,
        "team_id": TEAM,
        "api_app_id": APP,
        "event": {**author, **event},
        "type": "event_callback",
        "event_id": "Ev0«number»",
        "event_time": 1700000000,
        "authorizations": [authorization],
        "is_ext_shared_channel": False,
        "event_context": "4-" + "e" * 90,
    }
    return Template(
        {
            "envelope_id": "«number»-0000-4000-8000-000000000000",
            "payload": payload,
            "type": "events_api",
            "accepts_response_payload": False,
            "retry_attempt": 0,
            "retry_reason": "",
        }
    )


_CUSTOMER = _envelope({"user": USER, "client_msg_id": "«number»-1111-4222-8333-944444444444"})
_OWN_PROFILE = {
    "id": BOT,
    "app_id": APP,
    "name": "bench",
    "icons": {"image_48": "https://avatars.invalid/48"},
    "deleted": False,
    "updated": 1700000000,
    "team_id": TEAM,
}
_OWN = _envelope({"user": BOT_USER, "bot_id": BOT, "app_id": APP, "bot_profile": _OWN_PROFILE})
_POSTED = Template(
    {
        "ok": True,
        "channel": "«channel»",
        "ts": "«ts»",
        "message": {
            "user": BOT_USER,
            "type": "message",
            "ts": "«ts»",
            "bot_id": BOT,
            "app_id": APP,
            "text": "«text»",
            "team": TEAM,
            "bot_profile": _OWN_PROFILE,
            "thread_ts": "«thread»",
            "parent_user_id": USER,
        },
    }
)


def _slack_fields(number: int, index: int) -> dict[bytes, bytes]:
    return {
        b"number": b"%08d" % number,
        # Later for a later number.
        b"ts": b"%d.%06d" % (time.time(), number % 1_000_000),
        b"text": _TEXT % number,
        b"thread": thread(index).encode(),
        b"channel": channel(index).encode(),
    }


def customer_event(number: int, index: int) -> bytes:
    """Somebody wrote in the thread."""
    return _CUSTOMER.fill(_slack_fields(number, index))


def own_event(number: int, index: int) -> bytes:
    """Our own post, of which Slack tells its author, too."""
    return _OWN.fill(_slack_fields(number, index))


def posted(number: int, index: int) -> bytes:
    """The answer to chat.postMessage."""
    return _POSTED.fill(_slack_fields(number, index))


def number_of_acknowledged(frame: bytes) -> int | None:
    """Which message's envelope a frame acknowledges."""
    at = frame.find(b'"envelope_id": "')
    return None if at < 0 else int(frame[at + 16 : at + 24])


HELLO = json.dumps(
    {
        "type": "hello",
        "num_connections": 1,
        "debug_info": {"host": "bench", "build_number": 1, "approximate_connection_time": 18060},
        "connection_info": {"app_id": APP},
    }
).encode()

_PERSON = {"id": USER, "team_id": TEAM, "name": "ana", "profile": {"real_name": "Ana Ruiz"}}
_ME = {"team": "bench", "team_id": TEAM, "user": "bench", "user_id": BOT_USER, "bot_id": BOT}
_SLACK_FIELDS: Mapping[str, Mapping[str, object]] = {
    "auth.test": {"url": "https://bench.invalid/", "app_id": APP, **_ME},
    "bots.info": {"bot": {"id": BOT, "app_id": APP, "user_id": BOT_USER, "name": "bench"}},
    "users.info": {"user": _PERSON},
}
SLACK_ANSWERS = {
    method: json.dumps({"ok": True, **fields}).encode() for method, fields in _SLACK_FIELDS.items()
}


# --- Connect -------------------------------------------------------------------------------------


def token(kind: str, index: int, nonce: int = 0) -> str:
    """A bearer token; `kind` is `part` or `conn`."""
    return f"{kind}-{index:08d}-{nonce:08d}-".ljust(TOKEN_LENGTH, "Q")


_BEARER = re.compile(rb"\r\nx-amz-bearer: *[a-z]{4}-(\d{8})", re.IGNORECASE)


def index_of_bearer(head: bytes) -> int:
    """Which contact a request of the Participant Service is for."""
    found = _BEARER.search(head)
    if found is None:
        raise ValueError("a request without a token of ours")
    return int(found[1])


def contact_id(index: int) -> str:
    return f"{index:08d}-aaaa-4000-8000-c0c0c0c0c0c0"


def participant_id(index: int) -> str:
    return f"{index:08d}-bbbb-4000-8000-d0d0d0d0d0d0"


def old_item_id(index: int, position: int) -> str:
    """An item of the chat's past."""
    return f"{index:08d}-dddd-4000-8000-{position:012d}"


def _item(own: bool, item_id: str, at: str, text: str) -> dict[str, object]:
    contact = contact_id(0).replace("00000000", "«index»", 1)
    me = participant_id(0).replace("00000000", "«index»", 1)
    return {
        "AbsoluteTime": at,
        "Content": text,
        "ContentType": "text/plain",
        "Id": item_id,
        "Type": "MESSAGE",
        "ParticipantId": me if own else "f" * 36,
        "DisplayName": "Ana Ruiz" if own else "Jo Young",
        "ParticipantRole": "CUSTOMER" if own else "AGENT",
        "InitialContactId": contact,
        "ContactId": contact,
    }


_ITEM = "«number»-cccc-4000-8000-e0e0e0e0e0e0"


def _frame(own: bool) -> Template:
    content = json.dumps(_item(own, _ITEM, "«at»", "«text»"), ensure_ascii=False)
    return Template({"topic": "aws/chat", "contentType": "application/json", "content": content})


_AGENT_FRAME, _ECHO_FRAME = _frame(own=False), _frame(own=True)
_SENT = Template({"Id": _ITEM, "AbsoluteTime": "«at»"})
_TRANSCRIPT = Template(
    {
        "InitialContactId": contact_id(0).replace("00000000", "«index»", 1),
        "Transcript": [
            _item(
                bool(position % 2),
                old_item_id(0, position).replace("00000000", "«index»", 1),
                stamp(HISTORY_BEGAN + position),
                (_TEXT % 0).decode(),
            )
            for position in reversed(range(HISTORY))
        ],
    }
)


def _chat_fields(number: int, index: int) -> dict[bytes, bytes]:
    return {
        b"number": b"%08d" % number,
        b"at": stamp().encode(),
        b"text": _TEXT % number,
        b"index": b"%08d" % index,
    }


def agent_frame(number: int, index: int) -> bytes:
    """An agent wrote in the chat."""
    return _AGENT_FRAME.fill(_chat_fields(number, index))


def echo_frame(number: int, index: int) -> bytes:
    """What the customer wrote, as the customer's own socket hears it."""
    return _ECHO_FRAME.fill(_chat_fields(number, index))


def sent(number: int) -> bytes:
    """The answer to SendMessage."""
    return _SENT.fill({b"number": b"%08d" % number, b"at": stamp().encode()})


def transcript(index: int) -> bytes:
    """The answer to GetTranscript: what was said before the run, newest first."""
    return _TRANSCRIPT.fill({b"index": b"%08d" % index})


def connection(index: int, nonce: int, url: str) -> dict[str, object]:
    """The answer to CreateParticipantConnection, and a part of StartChatContact's."""
    now = time.time()
    return {
        "Websocket": {"Url": url, "ConnectionExpiry": stamp(now + 3600)},
        "ConnectionCredentials": {
            "ConnectionToken": token("conn", index, nonce),
            "Expiry": stamp(now + 86400),
        },
    }


FRAME_ANSWERS = {
    "aws/subscribe": b'{"topic":"aws/subscribe","content":{"status":"success",'
    b'"topics":["aws/chat"]}}',
    "aws/heartbeat": b'{"topic":"aws/heartbeat"}',
    "aws/ping": b'{"topic":"aws/ping","statusCode":200,"statusContent":"OK"}',
}
