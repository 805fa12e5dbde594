"""The world a sandbox starts with; `docs/sandbox-slack.md` lists it."""

from __future__ import annotations

from bridge.sandbox.slack.model import App
from bridge.sandbox.slack.world import World

BOT_TOKEN = "xoxb-sandbox"  # noqa: S105 - opens nothing but this sandbox
APP_TOKEN = "xapp-sandbox"  # noqa: S105 - same
SIGNING_SECRET = "sandbox-signing-secret"  # noqa: S105 - same
VERIFICATION_TOKEN = "sandbox-verification"  # noqa: S105 - same


def seeded() -> World:
    """A workspace with the app, two people and a partner from outside, and three channels."""
    world = World(
        App(
            id="A0SB000001",
            name="Support",
            app_token=APP_TOKEN,
            signing_secret=SIGNING_SECRET,
            verification_token=VERIFICATION_TOKEN,
        )
    )
    home = world.add_team("Sandbox", "sandbox")
    partner = world.add_team("Acme", "acme")
    installation = world.install(home.id, BOT_TOKEN, "support")
    bot = installation.bot_user

    ana = world.add_user(home.id, "Ana Lima")
    ana.email, ana.tz, ana.locale = "ana@example.com", "America/Sao_Paulo", "pt-BR"
    ben = world.add_user(home.id, "Ben Okoro")
    ben.email, ben.tz, ben.locale = "ben@example.com", "Europe/London", "en-GB"
    eva = world.add_user(partner.id, "Eva External")
    eva.email, eva.tz, eva.locale = "eva@example.org", "Europe/Berlin", "de-DE"

    general = world.add_channel("general", "channel", home.id, ana.id)
    general.is_general = True
    general.members = [ana.id, ben.id]
    support = world.add_channel("help", "channel", home.id, ana.id)
    support.members = [ana.id, ben.id, bot]
    shared = world.add_channel("acme-help", "channel", home.id, ana.id)
    shared.members = [ana.id, ben.id, eva.id, bot]
    shared.connected_teams = [home.id, partner.id]
    return world
