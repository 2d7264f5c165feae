"""An event loop in a thread of its own, for code that has none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..exceptions import ClosedError, fork_error

T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        # A daemon: a service that nobody closes must not keep the interpreter from its exit.
        self._thread = threading.Thread(target=self._run, name="centralita-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for a coroutine that runs on the loop. Ctrl-C cancels it."""
        if self.is_of_another_process:
            work.close()
            raise fork_error()
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("a handler runs on the loop and must not wait for it; make it async and use `await`")
        if self.loop.is_closed():
            work.close()
            raise ClosedError("the service was shut down; make a new one")
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    @property
    def is_of_another_process(self) -> bool:
        """Whether the thread was left behind by a fork."""
        return self._pid != os.getpid()

    def close(self) -> None:
        """Ends the thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()
