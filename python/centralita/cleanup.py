"""The seed's ``CleanupService``: removes what nobody uses, measures what runs, reports what is not well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _decode
from ._bridge import call
from .records import CleanupReport, HealthReport

if TYPE_CHECKING:
    from ._native import Cleanup

__all__ = ["CleanupService"]


class CleanupService:
    """Cleans up and checks health at intervals; get it from ``Service.start_cleanup``.

    A round that fails is logged, counted and tried again at the next time. The rounds end when it is stopped or
    collected.
    """

    def __init__(self, native: Cleanup) -> None:
        self._native = native

    def start(self) -> None:
        """Starts the rounds; does nothing if they run."""
        self._native.start()

    async def stop(self) -> None:
        """Ends the rounds and waits for one that is under way. Idempotent."""
        await call(self._native.stop)

    @property
    def is_running(self) -> bool:
        """Whether the rounds run."""
        return self._native.is_running()

    async def run_manual_cleanup(self, days_inactive: int = 30, *, dry_run: bool = False) -> CleanupReport:
        """Removes the sessions without activity for so many days now, or says which it would."""
        report = await call(self._native.run_manual_cleanup, days_inactive, dry_run)
        return _decode.decode(CleanupReport, report)

    async def get_health_report(self) -> HealthReport:
        """The state of the system at this moment."""
        return _decode.decode(HealthReport, await call(self._native.get_health_report))

    async def reset_problematic_sessions(self, min_attempts: int = 5) -> int:
        """Sets the count of failed attempts to zero where it is at least ``min_attempts``. Returns in how many."""
        return int(await call(self._native.reset_problematic_sessions, min_attempts))
