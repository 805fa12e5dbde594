"""Checks on posted Block Kit blocks (docs: reference/block-kit), and the text they stand for."""

from __future__ import annotations

import secrets
from typing import Any

from bridge.sandbox.slack.model import Json
from bridge.sandbox.slack.web_api import ApiError, Call

MAX_BLOCKS = 50
MAX_ID = 255
MAX_SECTION_TEXT = 3_000
MAX_HEADER_TEXT = 150
MAX_ACTIONS = 25
MAX_BUTTON_TEXT = 75
MAX_BUTTON_VALUE = 2_000
MAX_OPTIONS = 100
MAX_OPTION_VALUE = 150
MAX_MARKDOWN = 12_000

TYPES = frozenset(
    {
        "actions", "alert", "call", "card", "carousel", "container", "context", "context_actions",
        "divider", "file", "header", "image", "input", "markdown", "plan", "rich_text", "section",
        "table", "task_card", "video",
    }
)  # fmt: skip


def checked_blocks(call: Call) -> list[Json]:
    """The call's blocks with ids where they had none. Raises ApiError as Slack names it."""
    blocks = call.value("blocks", "invalid_blocks_format")
    if blocks is None:
        return []
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ApiError("invalid_blocks_format")
    if len(blocks) > MAX_BLOCKS:
        raise _invalid(f"no more than {MAX_BLOCKS} items allowed", "/blocks")
    for index, block in enumerate(blocks):
        _check(block, f"/blocks/{index}")
    if sum(len(str(b.get("text"))) for b in blocks if b["type"] == "markdown") > MAX_MARKDOWN:
        raise ApiError("msg_blocks_too_long")
    return [
        block if "block_id" in block else {**block, "block_id": secrets.token_urlsafe(4)[:5]}
        for block in blocks
    ]


def text_of(blocks: list[Json]) -> str:
    """A fallback from the blocks, for a message that came without text."""
    found = [block["text"] for block in blocks if "text" in block]
    texts = [entry.get("text", "") if isinstance(entry, dict) else entry for entry in found]
    return " ".join(str(text) for text in texts)


def _invalid(reason: str, pointer: str) -> ApiError:
    message = f"[ERROR] {reason} [json-pointer:{pointer}]"
    return ApiError("invalid_blocks", errors=[message], response_metadata={"messages": [message]})


def _check(block: Json, pointer: str) -> None:
    kind = block.get("type")
    if kind not in TYPES:
        raise _invalid(f"unsupported type: {kind}", f"{pointer}/type")
    _limit(block.get("block_id", ""), MAX_ID, f"{pointer}/block_id")
    if kind == "section":
        _text(block.get("text"), MAX_SECTION_TEXT, f"{pointer}/text")
        if block.get("accessory", {}).get("type", "image") != "image":
            _actions([block["accessory"]], pointer)
    elif kind == "header":
        _text(block.get("text"), MAX_HEADER_TEXT, f"{pointer}/text")
    elif kind in ("actions", "context", "rich_text"):
        elements = block.get("elements")
        if not isinstance(elements, list) or not elements:
            raise _invalid("missing required field: elements", pointer)
        if not all(isinstance(element, dict) for element in elements):
            raise _invalid("must be objects", f"{pointer}/elements")
        if kind == "actions":
            _actions(elements, pointer)


def _actions(elements: list[Json], pointer: str) -> None:
    if len(elements) > MAX_ACTIONS:
        raise _invalid(f"no more than {MAX_ACTIONS} items allowed", f"{pointer}/elements")
    seen: set[str] = set()
    for index, element in enumerate(elements):
        here = f"{pointer}/elements/{index}"
        action_id = str(element.get("action_id") or f"auto-{secrets.token_hex(3)}")
        element["action_id"] = action_id
        if action_id in seen:
            raise _invalid(f"`action_id` {action_id} already exists", f"{here}/action_id")
        seen.add(action_id)
        _limit(action_id, MAX_ID, f"{here}/action_id")
        if element.get("type") == "button":
            _text(element.get("text"), MAX_BUTTON_TEXT, f"{here}/text")
            _limit(element.get("value", ""), MAX_BUTTON_VALUE, f"{here}/value")
        options = element.get("options") or []
        if len(options) > MAX_OPTIONS:
            raise _invalid(f"no more than {MAX_OPTIONS} items allowed", f"{here}/options")
        for option in options:
            _limit(option.get("value", ""), MAX_OPTION_VALUE, f"{here}/options")


def _text(value: Any, longest: int, pointer: str) -> None:
    if value is None:
        return
    if not isinstance(value, dict) or not value.get("text"):
        raise _invalid("must be a text object with text", pointer)
    _limit(value["text"], longest, f"{pointer}/text")


def _limit(value: Any, longest: int, pointer: str) -> None:
    if len(str(value)) > longest:
        raise _invalid(f"must be less than {longest + 1} characters", pointer)
