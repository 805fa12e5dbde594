"""What the bridge itself says in a thread: every text in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bridge.core.model import ConversationId, Notice, NoticeKind
from bridge.slack.markdown import Element, escaped, section, text_element
from bridge.slack.translate import END_BUTTON, REOPEN_BUTTON

_TEXTS: Mapping[NoticeKind, str] = {
    NoticeKind.CONNECTING: "Thanks, we are connecting you with support. Just keep writing here.",
    NoticeKind.BUSY: "{delay} We keep trying, and everything you write here is kept.",
    NoticeKind.JOINED: "{name} has joined the chat.",
    # Connect does not say who comes next: they join by name.
    NoticeKind.TRANSFERRED: "You are being transferred to a colleague.",
    NoticeKind.ENDED: "This chat has ended.",
    NoticeKind.MISSED: (
        "This chat ended while our connection was down. Something that was written in the last "
        "minutes may be missing here."
    ),
    NoticeKind.CANCELLED: (
        "You ended the chat before it began. What is marked here was not passed on to support."
    ),
    NoticeKind.ASK_REOPEN: (
        "This chat has ended. Your message is kept: do you want to start a new chat with it?"
    ),
    NoticeKind.HELD_FULL: (
        "This chat has ended, and we cannot keep any more messages for the next one. Please start "
        "a new chat with the button above, then send the last one again."
    ),
    NoticeKind.HELD_ERASED: (
        "No new chat was started, so what you wrote after the end was not passed on and is now "
        "erased here. Write again if you still need help."
    ),
    NoticeKind.NOT_REOPENED: (
        "This chat has ended, so your message was not passed on. Please write a new message "
        "outside of this thread."
    ),
    NoticeKind.WAITING: (
        "Support cannot be reached at the moment, so your message is waiting. It is kept, and we "
        "keep trying."
    ),
    NoticeKind.UNDELIVERED: "Your message could not be delivered: {reason}",
    NoticeKind.FILES: (
        "Files cannot be passed on to support yet. Please describe in words what they show."
    ),
    NoticeKind.AGENT_FILES: "{name} sent a file that cannot be shown here yet: {files}",
    NoticeKind.NOT_ALLOWED: "Sorry, support in this workspace is not open to you from here.",
    NoticeKind.FAILED: "We could not connect you with support: {reason}",
    NoticeKind.RETRIED: (
        "Your message that could not be delivered before has now been passed on to support."
    ),
    NoticeKind.NOT_DONE: (
        "Sorry, pressing the button did not work: something went wrong on our side. Please try "
        "again later."
    ),
    NoticeKind.SLOW: (
        "Many messages are waiting here. They are all kept, and will be passed on to support one "
        "after the other, in the order in which you wrote them."
    ),
}
_REASONS: Mapping[str, str] = {
    "rejected": "it was not accepted. Please write it in other words.",
    "unavailable": "support cannot be reached right now. Please try again later.",
    "busy": "everybody in support is busy. Please try again later.",
}
_DELAYS: Mapping[str, str] = {
    "busy": "Support is very busy right now.",
    "trouble": "Connecting you with support takes longer than usual.",
}
_ANY_REASON = "something went wrong on our side. Please try again later."
_SOMEONE = "Somebody of our team"
# Only whoever has to act is pinged.
_ADDRESSED = frozenset(
    {
        NoticeKind.ASK_REOPEN, NoticeKind.HELD_FULL, NoticeKind.HELD_ERASED,
        NoticeKind.NOT_REOPENED, NoticeKind.WAITING, NoticeKind.UNDELIVERED, NoticeKind.FILES,
        NoticeKind.FAILED, NoticeKind.NOT_ALLOWED, NoticeKind.RETRIED, NoticeKind.NOT_DONE,
        NoticeKind.SLOW,
    }
)  # fmt: skip
_BUTTONS: Mapping[NoticeKind, tuple[str, str]] = {
    NoticeKind.CONNECTING: (END_BUTTON, "End chat"),
    NoticeKind.ASK_REOPEN: (REOPEN_BUTTON, "Start a new chat"),
}
_USER = re.compile(r"[UW][A-Z0-9]{1,31}\Z")


def words(notice: Notice) -> str:
    """What a notice says, without whom it addresses."""
    return _TEXTS[notice.kind].format(
        name=notice.name.strip() or _SOMEONE,
        reason=_REASONS.get(notice.reason, _ANY_REASON),
        files=notice.files,
        delay=_DELAYS.get(notice.reason, _DELAYS["trouble"]),
    )


def elements(notice: Notice) -> list[Element]:
    """A notice as rich_text elements."""
    said = text_element(words(notice))
    if addressed := _addressed(notice):
        user: Element = {"type": "user", "user_id": addressed}
        return [section([user, text_element(" "), said])]
    return [section([said])]


def fallback(notice: Notice) -> str:
    """The same for notifications and screen readers, escaped."""
    addressed = _addressed(notice)
    return f"<@{addressed}> {escaped(words(notice))}" if addressed else escaped(words(notice))


def button(notice: Notice, conversation: ConversationId) -> Element | None:
    """The button under a notice, as an actions block; its value names the conversation."""
    if notice.kind not in _BUTTONS:
        return None
    action_id, label = _BUTTONS[notice.kind]
    return {
        "type": "actions",
        "elements": [
            {
                "type": "button",
                "action_id": action_id,
                "text": {"type": "plain_text", "text": label},
                "value": str(conversation),
            }
        ],
    }


def _addressed(notice: Notice) -> str:
    if notice.kind in _ADDRESSED and _USER.match(notice.user_id):
        return notice.user_id
    return ""
