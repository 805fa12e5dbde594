"""Small signs in a thread, tried for a while and then let be: nobody waits for them."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_never

import structlog

from bridge.core.errors import Failure
from bridge.core.events import Flag, RetireButton, Unflag
from bridge.core.model import ConversationId
from bridge.core.ports import CustomerSide
from bridge.relay.deliver import Patience, insist
from bridge.relay.kit import Kit

log = structlog.get_logger(__name__)

Sign = Flag | Unflag | RetireButton


async def show(kit: Kit, conversation: ConversationId, sign: Sign) -> None:
    """Put it into the thread."""
    patience = Patience(kit.timing.sign_patience)
    try:
        await insist(lambda: _call(kit.customer, conversation, sign), "slack", kit.clock, patience)
    except Failure as failure:
        log.info("best_effort_failed", call=failure.call, code=failure.code)


def _call(
    customer: CustomerSide, conversation: ConversationId, sign: Sign
) -> Coroutine[Any, Any, None]:
    match sign:
        case Flag():
            return customer.flag(conversation, sign.message_ts)
        case Unflag():
            return customer.unflag(conversation, sign.message_ts)
        case RetireButton():
            return customer.retire_button(conversation, sign.post_ts)
        case _:
            assert_never(sign)
