"""Cleanup and health checks, for code without ``async``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import cleanup as _aio
from ..records import CleanupReport, HealthReport

if TYPE_CHECKING:
    from ._loop import Loop

__all__ = ["CleanupService"]


class CleanupService:
    """Cleanup and health checks; see ``centralita.CleanupService``, whose methods these are."""

    def __init__(self, loop: Loop, cleanup: _aio.CleanupService) -> None:
        self._loop = loop
        self._cleanup = cleanup

    def start(self) -> None:
        """Starts the rounds; does nothing if they run."""
        self._cleanup.start()

    def stop(self) -> None:
        """Ends the rounds and waits for one that is under way."""
        self._loop.run(self._cleanup.stop())

    @property
    def is_running(self) -> bool:
        """Whether the rounds run."""
        return self._cleanup.is_running

    def run_manual_cleanup(self, days_inactive: int = 30, *, dry_run: bool = False) -> CleanupReport:
        """Removes the sessions without activity for so many days now, or says which it would."""
        return self._loop.run(self._cleanup.run_manual_cleanup(days_inactive, dry_run=dry_run))

    def get_health_report(self) -> HealthReport:
        """The state of the system at this moment."""
        return self._loop.run(self._cleanup.get_health_report())

    def reset_problematic_sessions(self, min_attempts: int = 5) -> int:
        """Sets the count of failed attempts to zero where it is at least ``min_attempts``. Returns in how many."""
        return self._loop.run(self._cleanup.reset_problematic_sessions(min_attempts))
