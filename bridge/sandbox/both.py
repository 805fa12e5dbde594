"""Both stand-ins together, and the environment that points a service at them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TextIO

from bridge.sandbox.connect.server import ConnectSandbox
from bridge.sandbox.slack.server import SlackSandbox

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running pair."""

    slack: SlackSandbox
    connect: ConnectSandbox

    @property
    def environment(self) -> Mapping[str, str]:
        """What a service has to be given to use this Slack and this Connect."""
        return {
            "SLACK_API_URL": f"{self.slack.url}/api/",
            "SLACK_BOT_TOKEN": "xoxb-sandbox",
            "SLACK_APP_TOKEN": "xapp-sandbox",
            "SLACK_SIGNING_SECRET": "sandbox-signing-secret",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "sandbox",
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_ENDPOINT_URL_CONNECT": self.connect.url,
            "AWS_ENDPOINT_URL_CONNECTPARTICIPANT": self.connect.url,
            "CONNECT_INSTANCE_ID": "11111111-2222-4333-8444-555555555555",
            "CONNECT_CONTACT_FLOW_ID": "66666666-7777-4888-9999-aaaaaaaaaaaa",
            "BRIDGE_SUPPORT_CHANNELS": "help,acme-help",
        }


@asynccontextmanager
async def sandbox(slack_port: int = 0, connect_port: int = 0) -> AsyncIterator[Sandbox]:
    """Start both on loopback; port 0 takes a free one. Raises OSError where a port is taken."""
    pair = Sandbox(SlackSandbox(), ConnectSandbox())
    await pair.slack.start(HOST, slack_port)
    try:
        await pair.connect.start(HOST, connect_port)
        try:
            yield pair
        finally:
            await pair.connect.stop()
    finally:
        await pair.slack.stop()


async def serve(slack_port: int, connect_port: int, out: TextIO, stop: asyncio.Event) -> int:
    """The command `sandbox`: print the environment lines, serve until `stop`."""
    async with sandbox(slack_port, connect_port) as pair:
        out.write("".join(f"{name}={value}\n" for name, value in pair.environment.items()))
        out.flush()
        await stop.wait()
    return 0
