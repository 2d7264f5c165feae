"""The seed's SessionManager and CleanupService, on each store."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import World, run, until

import centralita
from centralita import Status


def test_the_16_operations(world: World) -> None:
    async def main() -> None:
        async with world.service() as wa:
            manager = wa.manager
            made = await manager.create_or_update_session("ventas", name="Ventas")
            assert (made.status, made.name, made.is_active) == (Status.PENDING, "Ventas", True)
            again = await manager.create_or_update_session("ventas", phone="5491155550000", platform="android")
            assert (again.name, again.phone, again.platform) == ("Ventas", "5491155550000", "android")
            assert "5491155550000" not in repr(again)
            await manager.create_or_update_session("otra")

            ready = await manager.update_qr_code("ventas", "2@code")
            assert (ready.status, ready.qr_code) == (Status.QR_READY, "2@code")
            assert "2@code" not in repr(ready)
            assert (await manager.update_qr_code("ventas", None)).qr_code is None

            connected = await manager.update_connection_status("ventas", True, "connected", version="2.3000.1")
            assert connected.is_connected and connected.version == "2.3000.1"
            with pytest.raises(centralita.InvalidError):
                await manager.update_connection_status("ventas", True, Status.ERROR)
            with pytest.raises(centralita.InvalidError):
                await manager.update_connection_status("ventas", False, "asleep")

            for number in range(3):
                failed = await manager.record_connection_attempt("otra", False, "503")
                assert failed.connection_attempts == number + 1
            assert failed.last_connection_attempt is not None
            assert [record.session_id for record in (await manager.get_problematic_sessions(3)).items] == ["otra"]
            assert (await manager.get_problematic_sessions(4)).items == ()
            assert (await manager.reset_connection_attempts("otra")).connection_attempts == 0

            assert (await manager.increment_message_count("ventas", "sent")).messages_sent == 1
            assert (await manager.increment_message_count("ventas", "received")).messages_received == 1
            untyped: Any = manager
            with pytest.raises(ValueError):
                await untyped.increment_message_count("ventas", "lost")
            assert (await manager.update_chat_count("ventas")).total_chats == 0
            assert (await manager.update_health_check("ventas", 1.5)).memory_usage == 1.5
            with pytest.raises(ValueError):
                await manager.update_health_check("ventas", float("nan"))

            assert [r.session_id for r in (await manager.get_connected_sessions()).items] == ["ventas"]
            page = await manager.get_active_sessions(limit=1)
            assert len(page.items) == 1 and page.next is not None
            rest = await manager.get_active_sessions(limit=1, after=page.next)
            assert {page.items[0].session_id, rest.items[0].session_id} == {"ventas", "otra"}
            assert await manager.count_sessions(is_connected=True) == 1
            listed = await manager.list_sessions(statuses=[Status.PENDING, "connected"], session_ids=["ventas"])
            assert [record.session_id for record in listed.items] == ["ventas"]

            away = await manager.mark_as_inactive("otra", "nobody uses it")
            assert (away.status, away.is_active) == (Status.INACTIVE, False)
            figures = await manager.get_statistics()
            assert (figures.total_sessions, figures.connected_sessions, figures.inactive_sessions) == (2, 1, 1)

            report = await manager.cleanup_inactive_sessions(30, dry_run=True)
            assert (report.dry_run, report.removed) == (True, ())
            with pytest.raises(ValueError):
                await manager.cleanup_inactive_sessions(0)
            assert (await manager.delete_session("otra")).messages == 0
            with pytest.raises(LookupError):
                await manager.get_session("otra")
            assert (await manager.get_session("ventas")).session_id == "ventas"

    run(main())


def test_cleanup(world: World) -> None:
    async def main() -> None:
        async with world.service() as wa:
            await world.link(wa, "ventas")
            for _ in range(5):
                await wa.manager.create_or_update_session("otra")
                await wa.manager.record_connection_attempt("otra", False, "503")
            cleanup = wa.start_cleanup(inactive_days=10, health_check_interval=60, problematic_min_attempts=3)
            assert cleanup.is_running
            # The rounds begin in the background.
            report = await until("the time", cleanup.get_health_report, lambda report: report.cleanup.next)
            assert report.running and report.statistics.total_sessions == 2
            assert [health.session_id for health in report.problematic.sessions] == ["otra"]
            assert report.cleanup.last is None
            assert await cleanup.reset_problematic_sessions(3) == 1
            assert (await cleanup.run_manual_cleanup(10)).removed == ()
            await cleanup.stop()
            assert not cleanup.is_running
            cleanup.start()
            assert cleanup.is_running
            untyped: Any = wa
            for wrong in ({"inactive_days": 0}, {"cleanup_interval": -1}, {"report_limit": 5_000}):
                with pytest.raises(ValueError):
                    untyped.start_cleanup(**wrong)
            with pytest.raises(TypeError):
                untyped.start_cleanup(colour="blue")

    run(main())
