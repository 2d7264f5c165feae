"""What operators see: logging and Prometheus."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest
from conftest import FAST, KEYS, World, eventually, run

import centralita


class Collect(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def collected() -> logging.Handler:
    return Collect()


def test_rust_logs_through_logging_and_names_nobody(sqlite_world: World) -> None:
    world, collect = sqlite_world, Collect()
    logger = logging.getLogger("centralita")
    logger.addHandler(collect)
    logger.setLevel(logging.INFO)
    try:

        async def main() -> None:
            async with world.service(keys=centralita.KeyFile(str(world.store.path) + ".key")) as wa:  # type: ignore[union-attr]
                await world.link(wa, "ventas")
                world.contact.send_text(world.phone, "a secret text")
                world.stand_in.fault("drop")
                cleanup = wa.start_cleanup()
                await cleanup.run_manual_cleanup(30)
                await eventually(
                    "the cleanup's line", lambda: any("inactive" in r.getMessage() for r in collect.records)
                )

        run(main())
    finally:
        logger.removeHandler(collect)
        logger.setLevel(logging.NOTSET)
    names = {record.name for record in collect.records}
    assert names and all(name.startswith("centralita.") for name in names), names
    assert any("key file" in record.getMessage() and record.levelno == logging.WARNING for record in collect.records)
    said = "\n".join(record.getMessage() for record in collect.records)
    for secret in (world.phone.phone_number, world.contact.phone_number, "a secret text"):
        assert secret not in said


def test_a_slow_log_handler_holds_up_no_result(tmp_path: Path) -> None:
    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            time.sleep(0.3)

    logger = logging.getLogger("centralita")
    slow = Slow()
    logger.addHandler(slow)
    logger.setLevel(logging.DEBUG)
    try:

        async def main() -> float:
            async with centralita.Service(store=centralita.MemoryStore(), keys=KEYS, **FAST) as wa:
                for number in range(20):
                    await wa.manager.create_or_update_session(f"s{number}")
                loop = asyncio.get_running_loop()
                start = loop.time()
                cleanup = wa.start_cleanup()
                for _ in range(10):
                    await cleanup.run_manual_cleanup(30)
                return loop.time() - start

        assert run(main()) < 2.0
    finally:
        logger.removeHandler(slow)
        logger.setLevel(logging.NOTSET)


def test_metrics_text(sqlite_world: World) -> None:
    world = sqlite_world

    async def main() -> None:
        async with world.service() as wa:
            events = wa.events()
            await world.link(wa, "ventas")
            await events.__anext__()
            text = centralita.metrics_text()
            assert "# TYPE centralita_python_events_total counter" in text
            for name in (world.phone.phone_number, "ventas", "@s.whatsapp.net"):
                assert name not in text

    run(main())
