"""Where calls are scarce, messages and whoever was just active go first."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from bridge.connect.quota import Rate
from bridge.core.lookback import NOTHING
from tests.connect.service import QUOTAS, Talk, World, world
from tests.connect.support import eventually

__all__ = ["world"]


async def operations(world: World, *names: str) -> list[str]:
    """The calls of these kinds, in the order in which they reached Connect."""
    requests = (await world.desk.call("GET", "requests"))["requests"]
    return [each["operation"] for each in requests if each["operation"] in names]


async def asked_again(talk: Talk) -> None:
    await talk.chat.catch_up()


async def test_messages_are_not_delayed_by_transcripts_and_receipts(world: World) -> None:
    scarce = {"SendMessage": Rate(2, 1), "SendEvent": Rate(2, 1), "GetTranscript": Rate(1, 1)}
    side = world.side(quotas=QUOTAS | scarce, late_read_seconds=60.0)
    talk = await world.talk(side)
    item = await world.desk.say(talk.id, "Hello")
    await eventually(lambda: talk.listener.texts("AGENT"), "the message")
    begun = len((await world.desk.call("GET", "requests"))["requests"])
    reading = [asyncio.create_task(asked_again(talk)) for _ in range(3)]
    sending = [asyncio.create_task(talk.chat.send(str(n), f"t-{n}")) for n in range(4)]
    await asyncio.sleep(0)
    for _ in range(5):
        talk.chat.typing()
        talk.chat.delivered(item["Id"])
    await asyncio.gather(*sending)
    requests = (await world.desk.call("GET", "requests"))["requests"][begun:]
    sent = [each["content"] for each in requests if each["operation"] == "SendMessage"]
    assert sent == ["0", "1", "2", "3"]
    # Signs wait until no message does, although their own quota is free.
    assert "SendEvent" not in [each["operation"] for each in requests]
    await asyncio.gather(*reading)


async def test_after_a_failover_the_recently_active_come_first(world: World) -> None:
    before = world.side()
    talks = [await world.talk(before) for _ in range(5)]
    new = await world.start(before)
    await before.close()
    for talk in talks:
        await world.desk.act(talk.id, "drop_sockets")
    begun = len(await world.desk.requests("CreateParticipantConnection"))

    after = world.side(quotas=QUOTAS | {"CreateParticipantConnection": Rate(5, 1)})
    activity = [1.0, 20.0, 40.0, 10.0, 30.0]  # nobody is before the first when it comes
    listeners = []
    for talk, active_at in zip(talks, activity, strict=True):
        contact = replace(talk.started.contact, connected=True)
        listeners.append(world.listen(after, contact, NOTHING.plus([("i", active_at)]))[1])
    listeners.append(world.listen(after, new.contact)[1])
    for listener in listeners:
        await eventually(lambda one=listener: one.subscriptions, "subscribed")  # type: ignore[misc]
    requests = await world.desk.requests("CreateParticipantConnection")
    order = [each["contact_id"] for each in requests[begun:]]
    assert order[0] == talks[0].id
    assert order[1:] == [new.contact.contact_id, *(talks[n].id for n in (2, 4, 1, 3))]
