from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bridge.core.errors import Denied, Temporary
from bridge.core.model import Profile, Workspace
from bridge.sandbox.slack.server import SlackSandbox
from bridge.slack.directory import Directory
from bridge.slack.markers import mark
from bridge.slack.places import Places
from tests.slack.support import ACME, ANA, BEN, EVA, GENERAL, HELP, Kit, wired


async def profile(kit: Kit, user: str, channel: str = HELP) -> Profile:
    return (await kit.side.identify(kit.thread("", channel), user)).profile


async def test_everything_slack_tells_of_a_person(kit: Kit) -> None:
    root = str((await kit.people.say("help me"))["ts"])
    found = await kit.side.identify(kit.thread(root), ANA)
    assert found.profile == Profile(
        ANA,
        "Ana Lima",
        email="ana@example.com",
        time_zone="America/Sao_Paulo",
        locale="pt-BR",
        team_id="T0SB000001",
    )
    assert found.place_name == "help"
    assert root.replace(".", "") in found.permalink


async def test_somebody_of_another_organisation(kit: Kit) -> None:
    eva = await profile(kit, EVA, ACME)
    assert (eva.name, eva.external, eva.email, eva.team_id) == (
        "Eva External",
        True,
        "",
        "T0SB000002",
    )


async def test_a_colleague_in_another_workspace_of_the_organisation_is_not_external(
    kit: Kit,
) -> None:
    identity = replace(kit.identity, workspace=Workspace("T0SB000001", "E1"))
    directory = Directory(kit.api, identity, kit.places, kit.clock)
    user: dict[str, Any] = {"team_id": "T9", "enterprise_user": {"enterprise_id": "E1"}}
    assert not directory._is_external(user)
    assert directory._is_external(user | {"enterprise_user": {"enterprise_id": "E2"}})
    assert directory._is_external(user | {"is_stranger": True})


async def test_answers_are_kept_for_a_while(kit: Kit) -> None:
    root = str((await kit.people.say("help me"))["ts"])
    for _ in range(3):
        await kit.side.identify(kit.thread(root), ANA)
    assert len(await kit.people.calls("users.info")) == 1
    assert len(await kit.people.calls("chat.getPermalink")) == 1
    kit.clock.skew += 4000
    await kit.side.identify(kit.thread(root), ANA)
    assert len(await kit.people.calls("users.info")) == 2
    assert len(await kit.people.calls("chat.getPermalink")) == 2


async def test_a_name_is_worth_waiting_for(kit: Kit) -> None:
    await kit.people.fault("error", "users.info")
    with pytest.raises(Temporary):
        await profile(kit, ANA)
    assert (await profile(kit, ANA)).name == "Ana Lima"


async def test_a_revoked_token_is_not_a_missing_name(kit: Kit) -> None:
    await kit.people.do("faults", kind="reject", target="users.info", error="token_revoked")
    with pytest.raises(Denied):
        await profile(kit, ANA)


async def test_without_scopes_there_is_less_to_tell(box: SlackSandbox) -> None:
    box.settings.granted_scopes = ("chat:write", "channels:read")
    async with wired(box) as kit:
        assert await profile(kit, ANA) == Profile(ANA, "Someone")


async def test_links_and_names_of_places_are_best_effort(box: SlackSandbox) -> None:
    async with wired(box, support_channels=("*",)) as kit:
        await kit.people.fault("error", "conversations.info", times=9)
        await kit.people.fault("error", "chat.getPermalink", times=9)
        found = await kit.side.identify(kit.thread("1700000000.000001"), ANA)
        assert (found.profile.name, found.place_name, found.permalink) == ("Ana Lima", "", "")
        dm = str((await kit.people.do("dms", user=ANA))["id"])
        assert (await kit.side.identify(kit.thread("", dm), ANA)).place_name == ""


# --- who may open --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("customers", "may"),
    [
        (("everyone",), {ANA, BEN, EVA}),
        (("external",), {EVA}),
        (("vips",), {ANA}),
        (("@vips", "staff"), {ANA, BEN}),
        (("vips", "external"), {ANA, EVA}),
        (("everyone", "vips"), {ANA, BEN, EVA}),
        ((), set()),
    ],
)
async def test_who_may_open(box: SlackSandbox, customers: tuple[str, ...], may: set[str]) -> None:
    async with wired(box, customers=customers) as kit:
        await kit.people.do("usergroups", handle="vips", users=[ANA])
        await kit.people.do("usergroups", handle="staff", users=[BEN])
        found = {user for user in (ANA, BEN, EVA) if (await profile(kit, user)).may_open}
        assert found == may


async def test_groups_by_id_are_read_once_in_a_while(box: SlackSandbox) -> None:
    async with wired(box) as kit:
        group = str((await kit.people.do("usergroups", handle="vips", users=[ANA]))["id"])
        kit.side._directory = Directory(kit.api, kit.identity, kit.places, kit.clock, (group,))
        assert [(await profile(kit, user)).may_open for user in (ANA, BEN, ANA)] == [
            True,
            False,
            True,
        ]
        assert len(await kit.people.calls("usergroups.users.list")) == 1
        assert await kit.people.calls("usergroups.list") == []


@pytest.mark.parametrize(
    ("customers", "method", "fault"),
    [
        (("vips",), "usergroups.users.list", {"kind": "error"}),
        (("vips",), "usergroups.list", {"kind": "throttle"}),
        (("no-such-group",), "usergroups.list", {"kind": "delay", "seconds": 0}),
        (("external",), "users.info", {"kind": "reject", "error": "missing_scope"}),
        (("external",), "users.info", {"kind": "reject", "error": "user_not_visible"}),
    ],
)
async def test_it_is_never_guessed(
    box: SlackSandbox, customers: tuple[str, ...], method: str, fault: dict[str, Any]
) -> None:
    async with wired(box, customers=customers) as kit:
        await kit.people.do("usergroups", handle="vips", users=[ANA])
        await kit.people.do("faults", target=method, **fault)
        with pytest.raises(Temporary):
            await profile(kit, ANA)


# --- names in texts ------------------------------------------------------------------------------


async def test_names_in_a_text(kit: Kit) -> None:
    group = str((await kit.people.do("usergroups", handle="vips", users=[ANA]))["id"])
    text = f"{mark('@', ANA)}, {mark('@', EVA)}, {mark('#', GENERAL)}, {mark('!', group)}, <@{BEN}>"
    resolved = await kit.side.with_names(kit.thread("1.1"), text)
    assert resolved == f"@Ana Lima, @Eva External, #general, @vips, <@{BEN}>"


async def test_names_that_cannot_be_told_fall_back(kit: Kit) -> None:
    text = (
        f"{mark('@', 'UNOBODY')} {mark('@', 'UNOBODY2', 'zed')} {mark('#', 'C9')} {mark('!', 'S9')}"
    )
    resolved = await kit.side.with_names(kit.thread("1.1"), text)
    assert resolved == "@UNOBODY @zed #C9 @S9"


@pytest.mark.parametrize("error", ["token_revoked", "fatal_error", "ratelimited"])
async def test_resolving_names_never_raises(kit: Kit, error: str) -> None:
    for method in ("users.info", "conversations.info", "usergroups.list"):
        await kit.people.do("faults", kind="reject", target=method, error=error)
    text = f"{mark('@', BEN)} {mark('#', 'C0SB000009')} {mark('!', 'S9')}"
    assert await kit.side.with_names(kit.thread("1.1"), text) == f"@{BEN} #C0SB000009 @S9"


# --- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("configured", "support"),
    [
        (("#help",), {HELP}),
        (("Help", " acme-help "), {HELP, ACME}),
        ((HELP,), {HELP}),
        (("*",), {HELP, ACME, GENERAL}),
        ((), set()),
        (("#general",), set()),  # the bot is not in it
    ],
)
async def test_which_channels_are_for_support(
    kit: Kit, configured: tuple[str, ...], support: set[str]
) -> None:
    places = Places(kit.api, configured)
    await places.start()
    assert {channel for channel in (HELP, ACME, GENERAL) if places.is_support(channel)} == support


async def test_all_pages_of_channels_are_read(kit: Kit) -> None:
    for index in range(450):
        kit.box.world.add_channel(f"room-{index}", "channel", "T0SB000001", ANA).members.append(
            kit.identity.bot_user_id
        )
    places = Places(kit.api, ("room-449",))
    await places.start()
    assert places.unresolved == frozenset()
    assert len(await kit.people.calls("users.conversations")) >= 3


async def test_without_groups_read_public_channels_are_served(box: SlackSandbox) -> None:
    box.settings.granted_scopes = ("chat:write", "channels:read")
    async with wired(box) as kit:
        await kit.people.do(
            "faults", kind="reject", target="users.conversations", error="missing_scope"
        )
        places = Places(kit.api, ("help",))
        await places.start()
        assert places.is_support(HELP)


async def test_a_missing_scope_is_told_at_the_start(kit: Kit) -> None:
    await kit.people.do(
        "faults", kind="reject", target="users.conversations", error="missing_scope", times=2
    )
    with pytest.raises(Denied):
        await Places(kit.api, ("help",)).start()


async def test_a_channel_that_is_gone_is_not_for_support(kit: Kit) -> None:
    await kit.places.learn("C0NOWHERE")
    assert not kit.places.is_support("C0NOWHERE")


async def test_channels_follow_their_names(kit: Kit) -> None:
    kit.places.seen(GENERAL, "help")
    kit.places.seen(HELP, "old-help")
    assert kit.places.is_support(GENERAL)
    assert not kit.places.is_support(HELP)
    kit.places.lost(GENERAL)
    assert not kit.places.is_support(GENERAL)
    kit.places.seen(HELP, "")
    await kit.places.learn(HELP)
    assert kit.places.is_support(HELP)
