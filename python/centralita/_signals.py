"""SIGTERM and Ctrl-C while a program does nothing but serve."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Signals"]


class Signals:
    """Sets an event at SIGTERM and Ctrl-C, in the main thread; elsewhere it does nothing.

    Ctrl-C is left to whoever handles it already, as ``asyncio.run`` does from Python 3.11 on. Before that it would be
    raised in the middle of whatever line the loop is at.
    """

    def __init__(self, stopped: asyncio.Event, *, handle_sigterm: bool) -> None:
        self._stopped = stopped
        self._wanted = [signal.SIGTERM] if handle_sigterm else []
        self._handled: list[signal.Signals] = []
        self._loop = asyncio.get_running_loop()
        self.interrupted = False
        """Whether Ctrl-C was pressed."""

    def _interrupt(self) -> None:
        self.interrupted = True
        self._stopped.set()

    def __enter__(self) -> Self:
        handlers = {signum: self._stopped.set for signum in self._wanted}
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            handlers[signal.SIGINT] = self._interrupt
        for signum, handler in handlers.items():
            try:
                self._loop.add_signal_handler(signum, handler)
            except (NotImplementedError, RuntimeError, ValueError):
                # Not the main thread, or Windows.
                return self
            self._handled.append(signum)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A loop that is closed has removed them itself.
        if not self._loop.is_closed():
            for signum in self._handled:
                self._loop.remove_signal_handler(signum)
