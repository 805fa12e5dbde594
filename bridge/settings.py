"""Typed settings, and the only reader of the environment.

Every variable stands once, in `Settings`: its name, what it is for, what may stand in it and its
default. `.env.example` and the messages about wrong values are made from the same lines.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import dotenv
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from bridge import formats

_NEW_KEY = 'python -c "import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
_UNSET = SecretStr("")

_List = Annotated[tuple[str, ...], BeforeValidator(formats.listed)]
_Lower = BeforeValidator(str.lower)
_Upper = BeforeValidator(str.upper)
_Url = Annotated[str, AfterValidator(formats.http_url)]


def _variable(name: str, about: str, form: str, default: object = ..., **limits: object) -> Any:
    """A field read from the variable `name`; `form` says what may stand in it."""
    options: dict[str, Any] = {"description": about, "json_schema_extra": {"form": form}, **limits}
    return Field(default, validation_alias=name, **options)


def _flag(name: str, about: str, default: bool) -> Any:
    return _variable(name, about, "true or false", default)


def _whole(name: str, about: str, default: int | None, low: int, high: int) -> Any:
    return _variable(name, about, f"a whole number from {low} to {high}", default, ge=low, le=high)


def _number(name: str, about: str, default: float, low: float, high: float) -> Any:
    form = f"a number from {low:g} to {high:g}"
    return _variable(name, about, form, default, ge=low, le=high, allow_inf_nan=False)


class Settings(BaseModel, frozen=True, extra="ignore", hide_input_in_errors=True):
    """What `load` read. An absent text or secret is empty; durations have their unit in the name."""

    # Slack
    slack_bot_token: Annotated[SecretStr, AfterValidator(formats.bot_token)] = _variable(
        "SLACK_BOT_TOKEN",
        "Bot token of the Slack app. Required.",
        "the Bot User OAuth Token (xoxb-) from OAuth & Permissions of the Slack app",
    )
    slack_app_token: Annotated[SecretStr, AfterValidator(formats.app_token)] = _variable(
        "SLACK_APP_TOKEN",
        "App-level token; where it is set, events come by Socket Mode.",
        "an App-Level Token (xapp-) with connections:write from Basic Information of the app",
        _UNSET,
    )
    slack_signing_secret: Annotated[SecretStr, AfterValidator(formats.signing_secret)] = _variable(
        "SLACK_SIGNING_SECRET",
        "Verifies events that come by HTTP. Required without SLACK_APP_TOKEN.",
        "the Signing Secret from Basic Information of the Slack app",
        _UNSET,
    )
    slack_api_url: Annotated[str, AfterValidator(formats.api_url)] = _variable(
        "SLACK_API_URL",
        "Where Slack's Web API is.",
        "a URL such as https://slack.com/api/",
        "https://slack.com/api/",
    )
    # Amazon Connect
    aws_region: str = _variable(
        "AWS_REGION",
        "Region of the Connect instance (AWS_DEFAULT_REGION serves too). Credentials come by the "
        "usual AWS chain.",
        "a region such as us-east-1",
        "",
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
    )
    connect_instance_id: Annotated[str, AfterValidator(formats.instance_id)] = _variable(
        "CONNECT_INSTANCE_ID",
        "Id of the Connect instance. Required without CONNECT_START_CHAT_URL.",
        "the id alone (at most 100 characters): what follows instance/ in the instance's ARN",
        "",
        max_length=100,
    )
    connect_contact_flow_id: Annotated[str, AfterValidator(formats.flow_id)] = _variable(
        "CONNECT_CONTACT_FLOW_ID",
        "Flow that new chats enter; of an ARN the last part is taken. Required without "
        "CONNECT_START_CHAT_URL.",
        "the id or ARN of a published inbound flow",
        "",
        max_length=500,
    )
    connect_start_chat_url: Annotated[SecretStr, AfterValidator(formats.secret_http_url)] = (
        _variable(
            "CONNECT_START_CHAT_URL",
            "Starts chats by a POST to this URL instead of the AWS API, without AWS credentials.",
            "the http(s) URL of a start-chat API",
            _UNSET,
        )
    )
    aws_endpoint_url_connect: _Url = _variable(
        "AWS_ENDPOINT_URL_CONNECT",
        "Another address of the Connect API (VPC endpoint, sandbox).",
        "an http(s) URL",
        "",
    )
    aws_endpoint_url_connectparticipant: _Url = _variable(
        "AWS_ENDPOINT_URL_CONNECTPARTICIPANT",
        "Another address of the Participant Service (VPC endpoint, sandbox).",
        "an http(s) URL",
        "",
    )
    # Conversations
    support_channels: Annotated[_List, AfterValidator(formats.support_channels)] = _variable(
        "BRIDGE_SUPPORT_CHANNELS",
        "Channels where every thread is a conversation; elsewhere people mention the bot.",
        "ids or names separated by commas, or * for every channel the bot is in",
        (),
    )
    customers: Annotated[_List, AfterValidator(formats.customers)] = _variable(
        "BRIDGE_CUSTOMERS",
        "Who may open a conversation.",
        "everyone, external (people of other organisations in shared channels), or user groups "
        "(ids or handles) separated by commas",
        ("everyone",),
    )
    reopen: Annotated[Literal["ask", "always", "never"], _Lower] = _variable(
        "BRIDGE_REOPEN",
        "What a message after the end of a chat does: asks whether to start a new one, starts it, "
        "or nothing.",
        "ask, always or never",
        "ask",
    )
    initial_message: bool = _flag(
        "BRIDGE_INITIAL_MESSAGE",
        "Sends the opening text as InitialMessage, where flows and bots can read it.",
        default=False,
    )
    dm_threads: bool = _flag(
        "BRIDGE_DM_THREADS",
        "Whether each top-level message of a DM opens a thread of its own.",
        default=False,
    )
    rehydrate: bool = _flag(
        "BRIDGE_REHYDRATE",
        "Whether a chat that is started again carries the earlier transcript (persistent chat).",
        default=True,
    )
    rehydrate_seconds: float = _number(
        "BRIDGE_REHYDRATE_SECONDS",
        "How long after its end a chat is continued at the earliest: Connect needs 30 to 60 "
        "seconds to make the transcript available.",
        45.0,
        0,
        600,
    )
    # How chats are started
    chat_duration_minutes: int | None = _whole(
        "BRIDGE_CHAT_DURATION_MINUTES",
        "ChatDurationInMinutes of new chats; unset: Connect's own, 1500.",
        None,
        60,
        10080,
    )
    response_mode: Annotated[
        Literal["COMPLETE", "INCREMENTAL"] | None, BeforeValidator(formats.response_mode)
    ] = _variable(
        "BRIDGE_RESPONSE_MODE",
        "ParticipantConfiguration.ResponseMode: whether AI answers come whole or growing; none "
        "leaves it out of the request.",
        "COMPLETE, INCREMENTAL or none",
        "COMPLETE",
    )
    disconnect_on_customer_exit: bool = _flag(
        "BRIDGE_DISCONNECT_ON_CUSTOMER_EXIT",
        "Disconnects the agent too when the customer ends the chat (DisconnectOnCustomerExit).",
        default=False,
    )
    connection_types: bool = _flag(
        "BRIDGE_CONNECTION_TYPES",
        "Asks StartChatContact for the connection too (ConnectionTypes), which saves a call.",
        default=True,
    )
    content_types: Annotated[_List, AfterValidator(formats.content_types)] = _variable(
        "BRIDGE_CONTENT_TYPES",
        "SupportedMessagingContentTypes: what agents and flows may send.",
        f"text/plain and any of {', '.join(formats.CONTENT_TYPES[1:])}, separated by commas",
        ("text/plain", "text/markdown"),
    )
    # Pace
    split_limit: int = _whole(
        "BRIDGE_SPLIT_LIMIT",
        "Longest message to the agent in characters; longer ones go in parts. Open chats keep theirs.",
        1024,
        1,
        16384,
    )
    reorder_window_ms: int = _whole(
        "BRIDGE_REORDER_WINDOW_MS",
        "How long Connect's items wait for earlier ones, in milliseconds.",
        100,
        0,
        10000,
    )
    slack_posts_per_second: float = _number(
        "BRIDGE_SLACK_POSTS_PER_SECOND", "Posts a second in one Slack channel.", 1.0, 0.01, 10000
    )
    slack_timeout_seconds: float = _number(
        "BRIDGE_SLACK_TIMEOUT_SECONDS",
        "How long one Slack request may take; shorter than BRIDGE_LEASE_SECONDS.",
        10.0,
        0.5,
        60,
    )
    look_seconds: float = _number(
        "BRIDGE_LOOK_SECONDS",
        "How long Slack may need to show a post: where the outcome of one is unknown, the thread is "
        "looked at this time after its request must have ended, and once more after the same.",
        5.0,
        0.1,
        60,
    )
    connect_quota_scale: float = _number(
        "BRIDGE_CONNECT_QUOTA_SCALE",
        "Multiplies Connect's default quotas, where AWS has raised yours.",
        1.0,
        0.01,
        1000,
    )
    # Storage
    redis_url: Annotated[SecretStr, AfterValidator(formats.redis_url)] = _variable(
        "REDIS_URL",
        "Redis or Valkey, 6.2 or newer; unset: a private one in BRIDGE_DATA_DIR.",
        "a URL that begins with redis://, rediss:// or unix://",
        _UNSET,
    )
    redis_prefix: str = _variable(
        "BRIDGE_REDIS_PREFIX",
        "First part of every key in Redis.",
        "up to 64 letters, digits, dots, dashes or underscores",
        "bridge",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
    )
    encryption_keys: Annotated[SecretStr, AfterValidator(formats.encryption_keys)] = _variable(
        "BRIDGE_ENCRYPTION_KEYS",
        "Encrypts tokens and waiting text in Redis. Required with REDIS_URL; otherwise a key file "
        "is made in BRIDGE_DATA_DIR.",
        "keys of 32 bytes in URL-safe base64, separated by commas, newest first "
        f"({_NEW_KEY} prints one)",
        _UNSET,
    )
    data_dir: Path = _variable(
        "BRIDGE_DATA_DIR", "Folder of the private Redis and its key file.", "a path", Path("data")
    )
    appendfsync: Annotated[Literal["everysec", "always"], _Lower] = _variable(
        "BRIDGE_APPENDFSYNC",
        "How soon the private Redis writes to disk: each second, or before it answers.",
        "everysec or always",
        "everysec",
    )
    retention_days: int = _whole(
        "BRIDGE_RETENTION_DAYS",
        "How long an ended conversation is remembered (that there was one: 400 days more).",
        30,
        1,
        3650,
    )
    # The process
    http_host: str = _variable(
        "BRIDGE_HTTP_HOST",
        "Address that probes, metrics and Slack's HTTP events are served on; in a container "
        "0.0.0.0.",
        "an IP address or host name of this machine",
        "127.0.0.1",
    )
    http_port: int = _whole(
        "BRIDGE_HTTP_PORT", "Port of the same; 0 takes any free one.", 8080, 0, 65535
    )
    lease_seconds: float = _number(
        "BRIDGE_LEASE_SECONDS",
        "After how long without Redis a replica's conversations may go to another.",
        15.0,
        1,
        300,
    )
    max_places: int = _whole(
        "BRIDGE_MAX_PLACES",
        "How many Slack channels and DMs with open conversations a replica takes over from others "
        "at most.",
        10000,
        1,
        1000000,
    )
    grace_seconds: float = _number(
        "BRIDGE_GRACE_SECONDS", "How long a stopping service may finish its work.", 25.0, 0, 600
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _Upper] = _variable(
        "BRIDGE_LOG_LEVEL",
        "Least level of our own log lines; those of libraries start at WARNING.",
        "DEBUG, INFO, WARNING or ERROR",
        "INFO",
    )
    log_format: Annotated[Literal["json", "text"] | None, _Lower] = _variable(
        "BRIDGE_LOG_FORMAT",
        "Form of log lines; unset: text on a terminal, json elsewhere.",
        "json or text",
        None,
    )

    @property
    def socket_mode(self) -> bool:
        """Whether events come by Socket Mode; otherwise by HTTP."""
        return bool(self.slack_app_token.get_secret_value())


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable as the documentation shows it; an empty `default` means that there is none."""

    name: str
    about: str
    form: str
    default: str
    required: bool


def _described(field: FieldInfo) -> Variable:
    extra = field.json_schema_extra
    default = field.get_default()
    if field.is_required() or default is None or isinstance(default, SecretStr):
        shown = ""
    elif isinstance(default, tuple):
        shown = ",".join(default)
    else:
        shown = str(default).lower() if isinstance(default, bool) else str(default)
    return Variable(
        name=str(field.validation_alias),
        about=field.description or "",
        form=str(extra["form"]) if isinstance(extra, dict) else "",
        default=shown,
        required=field.is_required(),
    )


VARIABLES = {
    variable.name: variable for variable in map(_described, Settings.model_fields.values())
}
"""Every variable that the service reads, by name, in the order in which they are documented."""


class SettingsError(Exception):
    """The environment cannot be used. The text has one line for each problem: the variable, what
    is wrong and how to mend it; never a value, because a secret may stand in the wrong place."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, or else from the process and `.env` of this folder.

    A variable that is set wins over `.env`; one that is set but empty counts as absent. `.env` is
    exported to the process, because the AWS credential chain reads nothing else.

    Raises SettingsError, which lists every problem at once.
    """
    if environ is None:
        dotenv.load_dotenv(Path(".env"), override=False, interpolate=False)
        environ = os.environ
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    if "AWS_REGION" not in given and "AWS_DEFAULT_REGION" in given:
        given["AWS_REGION"] = given["AWS_DEFAULT_REGION"]
    others = [*_missing(given), *_typos(given)]
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        # Not chained: pydantic's error holds the values.
        raise SettingsError((*_explained(error), *others)) from None
    if settings.initial_message and settings.connect_start_chat_url.get_secret_value():
        # The template's Lambda drops it, and with it the customer's first words.
        others.append(
            "BRIDGE_INITIAL_MESSAGE: does not go with CONNECT_START_CHAT_URL, which does not pass "
            "it on; remove one of them"
        )
    if settings.slack_timeout_seconds >= settings.lease_seconds:
        # A post that outlives the lease could land after another replica looked for it.
        others.append(
            "BRIDGE_SLACK_TIMEOUT_SECONDS: is not shorter than BRIDGE_LEASE_SECONDS; "
            "lower the first or raise the second"
        )
    if others:
        raise SettingsError(tuple(others))
    return settings


def _explained(error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_url=False, include_input=False):
        variable = VARIABLES[str(detail["loc"][0])]
        if detail["type"] == "missing":
            yield f"{variable.name}: is not set; set it to {variable.form}"
            continue
        # Messages of pydantic may repeat the value; those of `formats` never do.
        own = detail.get("ctx", {}).get("error")
        wrong = str(own) if isinstance(own, ValueError) else "is not valid"
        default = variable.default
        unset = f", or remove it for the default ({default})" if default else ""
        yield f"{variable.name}: {wrong}; give {variable.form}{unset}"


def _missing(given: Mapping[str, str]) -> Iterator[str]:
    """What one variable demands of another."""
    if not {"SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"} & given.keys():
        yield (
            "SLACK_APP_TOKEN: is not set, nor is SLACK_SIGNING_SECRET; set the first (an "
            "App-Level Token, xapp-) for Socket Mode, or the second for events by HTTP"
        )
    by_url = "CONNECT_START_CHAT_URL" in given
    for name in ("CONNECT_INSTANCE_ID", "CONNECT_CONTACT_FLOW_ID"):
        if not by_url and name not in given:
            form = VARIABLES[name].form
            yield f"{name}: is not set; set it to {form}, or set CONNECT_START_CHAT_URL"
    # Both addresses are made of the region where they are not given.
    starts = by_url or "AWS_ENDPOINT_URL_CONNECT" in given
    if (
        not (starts and "AWS_ENDPOINT_URL_CONNECTPARTICIPANT" in given)
        and "AWS_REGION" not in given
    ):
        yield f"AWS_REGION: is not set; set it to {VARIABLES['AWS_REGION'].form}"
    if "REDIS_URL" in given and "BRIDGE_ENCRYPTION_KEYS" not in given:
        form = VARIABLES["BRIDGE_ENCRYPTION_KEYS"].form
        yield f"BRIDGE_ENCRYPTION_KEYS: is needed with REDIS_URL; set it to {form}"


def _typos(given: Mapping[str, str]) -> Iterator[str]:
    known = [name for name in VARIABLES if name.startswith("BRIDGE_")]
    for name in sorted(given):
        if not name.startswith("BRIDGE_") or name in known or _kubernetes(name, given[name]):
            continue
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]}?" if near else "remove it"
        yield f"{name}: is not a variable of this service; {advice}"


def _kubernetes(name: str, value: str) -> bool:
    """Whether Kubernetes sets it in every container, for a Service whose name begins so."""
    if re.search(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?$", name):
        return True
    return name.endswith("_PORT") and "://" in value


def example() -> str:
    """The text of `.env.example`."""
    head = (
        "# Settings of the service. Copy this file to .env and fill it in; lines that begin with\n"
        "# a # keep their default. A variable that is set in the environment wins over this file.\n"
    )
    return head + "".join(
        f"\n# {variable.about}\n# Give {variable.form}.\n"
        f"{'' if variable.required else '#'}{variable.name}={variable.default}\n"
        for variable in VARIABLES.values()
    )
