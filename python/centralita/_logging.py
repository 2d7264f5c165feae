"""What the native module logs, given to ``logging``."""

from __future__ import annotations

import logging
from collections.abc import Iterable

logger = logging.getLogger("centralita")


def level() -> int:
    """The level below which the native module need not log at all."""
    return min(max(logger.getEffectiveLevel(), 0), 255)


def handle(records: Iterable[tuple[int, str, str]]) -> int:
    """Handles a batch of ``(level, target, message)``; answers with the level that is wanted from now on."""
    for number, target, message in records:
        name = target.replace("::", ".")
        its = logging.getLogger(name)
        if its.isEnabledFor(number):
            its.handle(its.makeRecord(name, number, target, 0, message, (), None))
    return level()
