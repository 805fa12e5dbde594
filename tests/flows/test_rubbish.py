"""Whatever comes in, the service goes on, and nobody sees anything of it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.flows.support import HELP, WELCOME, Json, bridge

_WORD = st.text(st.characters(codec="utf-8"), max_size=8)
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORD, inner, max_size=3),
    max_leaves=6,
)
# Without a text of theirs, whatever else they have: what has one may well be a message.
_EVENT_MEMBERS = (
    "type", "subtype", "channel", "user", "ts", "thread_ts", "blocks", "hidden", "bot_id",
    "channel_type", "client_msg_id", "edited", "event_ts", "team", "item", "message",
)  # fmt: skip
_ITEM_MEMBERS = (
    "Id", "Type", "ContentType", "AbsoluteTime", "ParticipantRole", "ParticipantId", "DisplayName",
    "MessageMetadata", "RelatedContactId", "ContactId", "InitialContactId",
)  # fmt: skip
_TOPICS = st.sampled_from(["aws/chat", "aws/subscribe", "aws/heartbeat", "aws/ping", "aws/other"])
_CLICK = {"type": "block_actions", "actions": [{"action_id": "bridge_end", "value": "x:y:z"}]}


def _broken(whole: Json, members: tuple[str, ...]) -> st.SearchStrategy[Json]:
    wrong = st.dictionaries(st.sampled_from(members), _VALUE, min_size=1, max_size=3)
    return wrong.map(lambda found: whole | found)


def _event(thread_ts: str) -> Json:
    """A message in our thread, but for its text."""
    return {
        "type": "message", "channel": HELP, "user": "U0SB000002", "ts": "1795365236.000100",
        "thread_ts": thread_ts, "channel_type": "channel",
    }  # fmt: skip


def _frame(topic: str, content: Any) -> Json:
    return {"topic": topic, "contentType": "application/json", "content": content}


_ITEM: Json = {
    "AbsoluteTime": "2026-01-01T00:00:00.000Z", "Id": "rubbish", "Type": "MESSAGE",
    "ContentType": "text/plain", "ParticipantRole": "AGENT",
}  # fmt: skip
_EVENTS = st.lists(_broken(_event("1795365236.000001"), _EVENT_MEMBERS), max_size=15)
_ENVELOPES = st.lists(
    _VALUE
    | _WORD
    | _VALUE.map(lambda payload: {"type": "events_api", "envelope_id": "e", "payload": payload})
    | _VALUE.map(lambda body: {"type": "interactive", "envelope_id": "i", "payload": body})
    | _broken(_CLICK, ("actions", "container", "user", "message", "channel")).map(
        lambda click: {"type": "interactive", "envelope_id": "c", "payload": click}
    ),
    max_size=10,
)
_FRAMES = st.lists(
    _VALUE
    | _WORD
    | st.builds(_frame, _TOPICS, _VALUE)
    | _broken(_ITEM, _ITEM_MEMBERS).map(lambda item: _frame("aws/chat", json.dumps(item))),
    max_size=15,
)


# Shrinking would take minutes: each example is a whole service.
@settings(max_examples=5, deadline=None, phases=[Phase.generate], database=None)
@given(events=_EVENTS, envelopes=_ENVELOPES, frames=_FRAMES)
async def test_rubbish(events: list[Json], envelopes: list[Any], frames: list[Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="bridge-") as folder:
        async with bridge(Path(folder)) as world:
            thread = world.thread()
            await thread.talk()
            told = await thread.told()
            for event in events:
                if event.get("thread_ts") == "1795365236.000001":
                    event["thread_ts"] = thread.ts
                await world.slack.post("events", event=event)
            for envelope in envelopes:
                await world.slack.post("envelopes", frame=_raw(envelope))
            for frame in frames:
                await world.connect.do(thread.contact, "frames", frame=_raw(frame))
            await thread.write("Are you there?")
            await thread.say("I am.")
            await thread.reaches_agent("Hello", "Are you there?")
            await thread.reaches_customer(WELCOME, "Good morning", "I am.")
            assert await thread.told() == told


def _raw(frame: Any) -> str:
    return frame if isinstance(frame, str) and frame else json.dumps(frame)
