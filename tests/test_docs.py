from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import Counter

from bridge import metrics
from bridge.__main__ import main
from bridge.settings import VARIABLES, Variable, example, load

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def test_the_example_is_made_from_the_settings() -> None:
    assert example() == EXAMPLE, "run: make env-example"


def test_the_example_has_every_variable_once_with_its_default() -> None:
    found = re.findall(r"^(#?)([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE)
    assert found == [
        ("" if variable.required else "#", name, variable.default)
        for name, variable in VARIABLES.items()
    ]


def test_the_example_filled_in_is_a_working_environment() -> None:
    filled = {
        "SLACK_BOT_TOKEN": "xoxb-1",
        "SLACK_APP_TOKEN": "xapp-1",
        "AWS_REGION": "us-east-1",
        "CONNECT_INSTANCE_ID": "i",
        "CONNECT_CONTACT_FLOW_ID": "f",
    }
    defaults = {name: variable.default for name, variable in VARIABLES.items()}
    assert load({**defaults, **filled}) == load(filled)


@pytest.mark.parametrize("variable", VARIABLES.values(), ids=VARIABLES)
def test_every_setting_is_in_operations_with_its_default(variable: Variable) -> None:
    default = f"`{variable.default}`" if variable.default else ""
    row = f"| `{variable.name}` | {default} | {variable.about} Give {variable.form}. |"
    assert row in OPERATIONS.splitlines()


def test_operations_names_no_setting_that_does_not_exist() -> None:
    named = set(re.findall(r"\b(?:BRIDGE|CONNECT|SLACK|REDIS)_[A-Z_]*[A-Z]\b", OPERATIONS))
    assert named == {name for name in VARIABLES if not name.startswith("AWS_")}


def test_operations_has_every_metric_with_its_labels_and_no_other() -> None:
    real = {}
    for value in vars(metrics).values():
        name = getattr(value, "_name", "")
        if name.startswith("bridge_"):
            shown = f"{name}_total" if isinstance(value, Counter) else name
            real[shown] = ", ".join(f"`{label}`" for label in value._labelnames)
    rows = re.findall(r"^\| `(bridge_\w+)` \| (.*?) ?\| ", OPERATIONS, re.MULTILINE)
    assert dict(rows) == real
    assert len(rows) == len(real)


def test_operations_has_every_probe() -> None:
    assert re.findall(r"`GET (/\w+)`", OPERATIONS) == ["/live", "/ready", "/metrics"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(document: Path) -> None:
    prose = re.sub(
        r"```.*?```|`[^`\n]*`", "", document.read_text(encoding="utf-8"), flags=re.DOTALL
    )
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose)
    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_path_in_architecture_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    quoted = re.findall(r"`([\w./-]+(?:/|\.py|\.lua))`", text)
    homes = (ROOT, ROOT / "bridge", ROOT / "bridge" / "store" / "scripts")
    assert len(quoted) > 60
    assert [path for path in quoted if not any((home / path).exists() for home in homes)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_and_command_exists(
    document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = document.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for command, arguments in re.findall(r"python -m bridge ([a-z]+)([^\n`]*)", text):
        with pytest.raises(SystemExit) as exited:
            main([command, "--help"])
        assert exited.value.code == 0
        known = capsys.readouterr().out
        assert [
            option for option in re.findall(r"--[a-z-]+", arguments) if option not in known
        ] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_names_a_setting_that_does_not_exist(document: Path) -> None:
    named = set(re.findall(r"\bBRIDGE_[A-Z_]*[A-Z]\b", document.read_text(encoding="utf-8")))
    assert named <= VARIABLES.keys()
