"""Master keys that live elsewhere: a provider written in Python."""

from __future__ import annotations

import asyncio
import threading

import pytest
from conftest import World, run

import centralita


class Kms:
    """Wraps by XOR, which is enough to see whether it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.thread: int | None = None
        self.away = 0
        self.refuses = False

    async def wrap(self, context: bytes, data_key: bytes) -> bytes:
        self._note("wrap", context)
        if self.refuses:
            raise PermissionError("the KMS refuses")
        await asyncio.sleep(0)
        return bytes(byte ^ 0x5A for byte in data_key)

    async def unwrap(self, context: bytes, wrapped: bytes) -> bytes:
        self._note("unwrap", context)
        await asyncio.sleep(0)
        if self.away:
            self.away -= 1
            raise ConnectionError("the KMS is away")
        if self.refuses:
            raise PermissionError("the KMS refuses")
        return bytes(byte ^ 0x5A for byte in wrapped)

    def _note(self, method: str, context: bytes) -> None:
        assert context
        self.asked.append(method)
        self.thread = threading.get_ident()


def test_a_key_provider(sqlite_world: World) -> None:
    world, kms = sqlite_world, Kms()

    async def link() -> None:
        async with world.service(keys=kms) as wa:
            await world.link(wa, "ventas")

    async def come_back() -> None:
        async with world.service(keys=kms) as wa:
            kms.away = 2
            session = await wa.start_session("ventas")
            await session.wait_connected(timeout=20)
            assert kms.away == 0 and kms.asked.count("unwrap") == 3, "one that is away is asked again"

    async def refused() -> None:
        async with world.service(keys=kms) as wa:
            session = await wa.start_session("ventas")
            with pytest.raises(centralita.CryptoError):
                await session.wait_connected(timeout=20)
            with pytest.raises(centralita.CryptoError) as unsealed:
                await wa.manager.update_qr_code("ventas", "a code")
            assert isinstance(unsealed.value.__cause__, PermissionError)

    run(link())
    assert "wrap" in kms.asked and kms.thread == threading.get_ident()
    kms.asked.clear()
    run(come_back())
    kms.refuses = True
    run(refused())
    assert len(world.phone.devices) == 1
