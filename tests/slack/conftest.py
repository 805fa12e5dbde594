from __future__ import annotations

from tests.slack.support import box, kit

__all__ = ["box", "kit"]
