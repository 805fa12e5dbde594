from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.settings import VARIABLES, Settings, SettingsError, load

KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
LEAST = {
    "SLACK_BOT_TOKEN": "xoxb-1-planted",
    "SLACK_APP_TOKEN": "xapp-1-planted",
    "AWS_REGION": "eu-central-1",
    "CONNECT_INSTANCE_ID": "11111111-2222-3333-4444-555555555555",
    "CONNECT_CONTACT_FLOW_ID": "66666666-7777-8888-9999-000000000000",
}


def problems(**changes: str) -> tuple[str, ...]:
    """What is said of the least working settings with these changes; empty means absent."""
    with pytest.raises(SettingsError) as caught:
        load({**LEAST, **changes})
    return caught.value.problems


def test_the_least_is_enough_and_the_rest_has_defaults() -> None:
    settings = load(LEAST)
    assert settings.slack_bot_token.get_secret_value() == "xoxb-1-planted"
    assert settings.socket_mode
    assert settings.slack_api_url == "https://slack.com/api/"
    assert settings.support_channels == ()
    assert settings.customers == ("everyone",)
    assert settings.reopen == "ask"
    assert settings.response_mode == "COMPLETE"
    assert settings.content_types == ("text/plain", "text/markdown")
    assert settings.chat_duration_minutes is None
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert settings.data_dir == Path("data")
    assert settings.log_format is None


def test_values_are_read() -> None:
    settings = load(
        {
            **LEAST,
            "SLACK_API_URL": "http://127.0.0.1:1/api",
            "BRIDGE_SUPPORT_CHANNELS": " #help, C123 ,,",
            "BRIDGE_CUSTOMERS": "@support,S0123",
            "BRIDGE_REOPEN": "Never",
            "BRIDGE_INITIAL_MESSAGE": "yes",
            "BRIDGE_CHAT_DURATION_MINUTES": "60",
            "BRIDGE_RESPONSE_MODE": "incremental",
            "BRIDGE_CONTENT_TYPES": "text/plain",
            "BRIDGE_HTTP_PORT": "0",
            "BRIDGE_LOG_LEVEL": "debug",
            "BRIDGE_ENCRYPTION_KEYS": f"{KEY}, {KEY},",
            "REDIS_URL": "rediss://:planted@redis.example:6380/1",
        }
    )
    assert settings.slack_api_url == "http://127.0.0.1:1/api/"
    assert settings.support_channels == ("#help", "C123")
    assert settings.customers == ("@support", "S0123")
    assert settings.reopen == "never"
    assert settings.initial_message is True
    assert settings.chat_duration_minutes == 60
    assert settings.response_mode == "INCREMENTAL"
    assert settings.content_types == ("text/plain",)
    assert settings.http_port == 0
    assert settings.log_level == "DEBUG"
    assert settings.encryption_keys.get_secret_value() == f"{KEY},{KEY}"
    assert settings.redis_url.get_secret_value().endswith("@redis.example:6380/1")


def test_response_mode_can_be_left_out_of_the_request() -> None:
    assert load({**LEAST, "BRIDGE_RESPONSE_MODE": "none"}).response_mode is None


@pytest.mark.parametrize(("text", "value"), [("EXTERNAL", ("external",)), ("*", ("*",))])
def test_the_words_of_a_list_may_stand_alone(text: str, value: tuple[str, ...]) -> None:
    name = "BRIDGE_SUPPORT_CHANNELS" if text == "*" else "BRIDGE_CUSTOMERS"
    settings = load({**LEAST, name: text})
    assert value in (settings.support_channels, settings.customers)


def test_set_but_empty_is_absent() -> None:
    settings = load({**LEAST, "BRIDGE_REOPEN": "", "BRIDGE_HTTP_PORT": "  ", "REDIS_URL": ""})
    assert settings == load(LEAST)


def test_settings_are_frozen() -> None:
    settings = load(LEAST)
    with pytest.raises(ValueError, match="frozen"):
        settings.reopen = "never"  # type: ignore[misc]  # what is tested
    assert settings.reopen == "ask"


def test_all_problems_come_at_once_each_on_a_line() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"BRIDGE_REOPEN": "sometimes", "BRIDGE_HTTP_PRT": "1", "REDIS_URL": "redis://r"})
    named = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert sorted(named) == sorted(
        [
            "SLACK_BOT_TOKEN",
            "SLACK_APP_TOKEN",
            "CONNECT_INSTANCE_ID",
            "CONNECT_CONTACT_FLOW_ID",
            "AWS_REGION",
            "BRIDGE_REOPEN",
            "BRIDGE_HTTP_PRT",
            "BRIDGE_ENCRYPTION_KEYS",
        ]
    )


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SLACK_BOT_TOKEN", "xoxp-1", "does not begin with xoxb-"),
        ("SLACK_APP_TOKEN", "xoxb-1", "does not begin with xapp-"),
        ("SLACK_SIGNING_SECRET", "xoxb-1", "is a token"),
        ("SLACK_API_URL", "slack.com/api", "not an http:// or https:// URL"),
        ("AWS_REGION", "eu central 1", "give a region such as us-east-1"),
        ("CONNECT_INSTANCE_ID", "arn:aws:connect:r:1:instance/i", "what follows instance/"),
        ("CONNECT_INSTANCE_ID", "https://acme.my.connect.aws/", "what follows instance/"),
        ("CONNECT_INSTANCE_ID", "acme.my.connect.aws", "what follows instance/"),
        ("CONNECT_INSTANCE_ID", "i" * 101, "at most 100 characters"),
        ("CONNECT_START_CHAT_URL", "ftp://x", "not an http:// or https:// URL"),
        ("AWS_ENDPOINT_URL_CONNECT", "http://x:port", "is not a URL"),
        ("AWS_ENDPOINT_URL_CONNECTPARTICIPANT", "[", "not an http:// or https:// URL"),
        ("REDIS_URL", "valkey://r", "redis://, rediss:// or unix://"),
        ("BRIDGE_ENCRYPTION_KEYS", f"{KEY},short", "entry 2 is not 32 bytes in URL-safe base64"),
        ("BRIDGE_ENCRYPTION_KEYS", ",", "has no key"),
        ("BRIDGE_SUPPORT_CHANNELS", "*,help", "has * beside other entries"),
        ("BRIDGE_CUSTOMERS", "everyone,@a", "beside other entries"),
        ("BRIDGE_CUSTOMERS", ",", "has no entry"),
        ("BRIDGE_REOPEN", "maybe", "give ask, always or never"),
        ("BRIDGE_INITIAL_MESSAGE", "perhaps", "give true or false"),
        ("BRIDGE_CHAT_DURATION_MINUTES", "59", "from 60 to 10080"),
        ("BRIDGE_CHAT_DURATION_MINUTES", "10081", "from 60 to 10080"),
        ("BRIDGE_RESPONSE_MODE", "whole", "COMPLETE, INCREMENTAL or none"),
        ("BRIDGE_CONTENT_TYPES", "text/markdown", "has no text/plain"),
        ("BRIDGE_CONTENT_TYPES", "text/plain,text/html", "does not know"),
        ("BRIDGE_SPLIT_LIMIT", "16385", "from 1 to 16384"),
        ("BRIDGE_SPLIT_LIMIT", "many", "from 1 to 16384"),
        ("BRIDGE_HTTP_PORT", "65536", "from 0 to 65535"),
        ("BRIDGE_LEASE_SECONDS", "0.5", "from 1 to 300"),
        ("BRIDGE_GRACE_SECONDS", "nan", "from 0 to 600"),
        ("BRIDGE_SLACK_POSTS_PER_SECOND", "0", "from 0.01 to 10000"),
        ("BRIDGE_REDIS_PREFIX", "a:b", "letters, digits"),
        ("BRIDGE_APPENDFSYNC", "no", "everysec or always"),
        ("BRIDGE_LOG_LEVEL", "loud", "DEBUG, INFO, WARNING or ERROR"),
        ("BRIDGE_LOG_FORMAT", "yaml", "json or text"),
    ],
)
def test_a_wrong_value_is_named_with_its_fix(name: str, value: str, says: str) -> None:
    extra = {"BRIDGE_ENCRYPTION_KEYS": KEY} if name == "REDIS_URL" else {}
    found = problems(**extra, **{name: value})
    assert len(found) == 1
    assert found[0].startswith(f"{name}: ")
    assert says in found[0]


@given(
    name=st.sampled_from(sorted(VARIABLES)),
    value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
)
def test_a_message_never_repeats_what_was_given(name: str, value: str) -> None:
    planted = f"{value}¤planted"
    try:
        load({**LEAST, name: planted})
    except SettingsError as error:
        told = "".join(traceback.format_exception(error))
    else:
        told = ""
    assert "¤planted" not in told


def test_secrets_hide_in_repr() -> None:
    settings = load(
        {
            **LEAST,
            "SLACK_SIGNING_SECRET": "planted",
            "CONNECT_START_CHAT_URL": "https://x/planted",
            "REDIS_URL": "redis://:planted@r",
            "BRIDGE_ENCRYPTION_KEYS": KEY,
        }
    )
    assert "planted" not in repr(settings)
    assert KEY not in repr(settings)


class TestOneDemandsAnother:
    def test_a_transport(self) -> None:
        assert [line.split(":")[0] for line in problems(SLACK_APP_TOKEN="")] == ["SLACK_APP_TOKEN"]

    def test_a_signing_secret_alone_means_http(self) -> None:
        settings = load({**LEAST, "SLACK_APP_TOKEN": "", "SLACK_SIGNING_SECRET": "s"})
        assert not settings.socket_mode

    def test_both_mean_socket_mode(self) -> None:
        assert load({**LEAST, "SLACK_SIGNING_SECRET": "s"}).socket_mode

    def test_a_start_url_replaces_instance_and_flow(self) -> None:
        url = {"CONNECT_START_CHAT_URL": "https://start.example/chat"}
        settings = load({**LEAST, "CONNECT_INSTANCE_ID": "", "CONNECT_CONTACT_FLOW_ID": "", **url})
        assert settings.connect_start_chat_url.get_secret_value() == url["CONNECT_START_CHAT_URL"]
        # Messages still go to the Participant Service of a region.
        assert [line.split(":")[0] for line in problems(AWS_REGION="", **url)] == ["AWS_REGION"]

    @pytest.mark.parametrize("start", ["AWS_ENDPOINT_URL_CONNECT", "CONNECT_START_CHAT_URL"])
    def test_a_region_is_needed_only_where_an_address_is_made_of_it(self, start: str) -> None:
        here = {"AWS_REGION": "", start: "http://127.0.0.1:1"}
        assert len(problems(**here)) == 1
        both = {**here, "AWS_ENDPOINT_URL_CONNECTPARTICIPANT": "http://127.0.0.1:1"}
        assert load({**LEAST, **both}).aws_region == ""

    def test_the_default_region_serves_and_yields(self) -> None:
        assert load({**LEAST, "AWS_REGION": "", "AWS_DEFAULT_REGION": "a-1"}).aws_region == "a-1"
        assert load({**LEAST, "AWS_DEFAULT_REGION": "a-1"}).aws_region == "eu-central-1"

    def test_redis_needs_keys(self) -> None:
        (line,) = problems(REDIS_URL="redis://r")
        assert line.startswith("BRIDGE_ENCRYPTION_KEYS: ")
        settings = load({**LEAST, "REDIS_URL": "redis://r", "BRIDGE_ENCRYPTION_KEYS": KEY})
        assert settings.encryption_keys.get_secret_value() == KEY


def test_a_flow_may_be_given_by_its_arn() -> None:
    arn = "arn:aws:connect:us-east-1:1:instance/i/contact-flow/the-flow"
    settings = load({**LEAST, "CONNECT_CONTACT_FLOW_ID": arn})
    assert settings.connect_contact_flow_id == "the-flow"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BRIDGE_SUPPORT_CHANNEL", "did you mean BRIDGE_SUPPORT_CHANNELS?"),
        ("BRIDGE_REOPENS", "did you mean BRIDGE_REOPEN?"),
        ("BRIDGE_XYZZY_42", "remove it"),
    ],
)
def test_a_typo_is_named_with_the_nearest_name(name: str, near: str) -> None:
    (line,) = problems(**{name: "x"})
    assert line.startswith(f"{name}: ")
    assert near in line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BRIDGE_PORT", "tcp://10.0.0.1:8080"),
        ("BRIDGE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("BRIDGE_SERVICE_HOST", "10.0.0.1"),
        ("BRIDGE_REDIS_SERVICE_PORT_HTTP", "80"),
    ],
)
def test_what_kubernetes_sets_is_no_typo(name: str, value: str) -> None:
    assert load({**LEAST, name: value}) == load(LEAST)


class TestFile:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.chdir(tmp_path)
        before = dict(os.environ)
        yield
        os.environ.clear()
        os.environ.update(before)

    def write(self, **lines: str) -> None:
        Path(".env").write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def read(self) -> Settings:
        return load()

    def test_it_is_read_and_real_variables_win(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.write(**LEAST, BRIDGE_REOPEN="never", BRIDGE_REDIS_PREFIX="of-the-file")
        monkeypatch.setenv("BRIDGE_REOPEN", "always")
        settings = self.read()
        assert (settings.reopen, settings.redis_prefix) == ("always", "of-the-file")

    def test_aws_credentials_in_it_reach_the_aws_chain(self) -> None:
        self.write(**LEAST, AWS_ACCESS_KEY_ID="a$b")
        self.read()
        assert os.environ["AWS_ACCESS_KEY_ID"] == "a$b"

    def test_without_it_the_environment_serves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in LEAST.items():
            monkeypatch.setenv(name, value)
        assert self.read() == load(LEAST)

    def test_a_given_environment_leaves_it_alone(self) -> None:
        self.write(BRIDGE_REOPEN="never")
        assert load(LEAST).reopen == "ask"


def test_a_slack_request_ends_before_the_lease() -> None:
    (problem,) = problems(BRIDGE_SLACK_TIMEOUT_SECONDS="10", BRIDGE_LEASE_SECONDS="10")
    assert problem.startswith("BRIDGE_SLACK_TIMEOUT_SECONDS: is not shorter than BRIDGE_LEASE")


def test_an_initial_message_is_not_lost_behind_a_start_chat_url() -> None:
    (problem,) = problems(
        BRIDGE_INITIAL_MESSAGE="true", CONNECT_START_CHAT_URL="https://x.test/startChat"
    )
    assert problem.startswith("BRIDGE_INITIAL_MESSAGE: does not go with CONNECT_START_CHAT_URL")
