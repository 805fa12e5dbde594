"""A few emoji, by the names that Slack's clients use (iamcal/emoji-data short names)."""

from __future__ import annotations

_TABLE = {
    "+1": "👍", "-1": "👎", "100": "💯", "blush": "😊", "bug": "🐛", "bulb": "💡", "clap": "👏",
    "confused": "😕", "cry": "😢", "eyes": "👀", "fire": "🔥", "grin": "😁", "grinning": "😀",
    "heart": "❤️", "heart_eyes": "😍", "hourglass": "⌛", "joy": "😂", "laughing": "😆",
    "large_green_circle": "🟢", "lock": "🔒", "memo": "📝", "muscle": "💪", "ok_hand": "👌",
    "package": "📦", "point_up": "☝️", "pray": "🙏", "question": "❓", "rage": "😡",
    "raised_hands": "🙌", "red_circle": "🔴", "rocket": "🚀", "rolling_on_the_floor_laughing": "🤣",
    "slightly_smiling_face": "🙂", "smile": "😄", "smiley": "😃", "sob": "😭", "sparkles": "✨",
    "star": "⭐", "sunglasses": "😎", "sweat_smile": "😅", "tada": "🎉", "thinking_face": "🤔",
    "thumbsup": "👍", "thumbsdown": "👎", "truck": "🚚", "upside_down_face": "🙃", "warning": "⚠️",
    "wave": "👋", "white_check_mark": "✅", "wink": "😉", "x": "❌", "zap": "⚡",
}  # fmt: skip

CUSTOM = {"acme": "emoji/acme.png"}
"""Custom emoji of the workspace: name to the path of its image."""

NAMES = {character: name for name, character in reversed(_TABLE.items())}
"""A character to its first name."""


def known(name: str) -> bool:
    """Whether a client would turn `:name:` into an emoji."""
    return name in _TABLE or name in CUSTOM


def unicode_of(name: str, skin_tone: int | None = None) -> str | None:
    """Code points in lower-case hexadecimal joined by dashes; None for custom emoji."""
    if name not in _TABLE:
        return None
    character = _TABLE[name]
    if skin_tone is not None:
        character = character.rstrip("\ufe0f") + chr(0x1F3FA + skin_tone - 1)
    return "-".join(f"{ord(point):x}" for point in character)
