"""The pytest plugin: pytest loads it before any test module imports ``centralita``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import StandIn


@pytest.fixture
def stand_in() -> Iterator[StandIn]:
    """A local WhatsApp of this test alone; services that the test makes talk to it."""
    with StandIn() as running:
        yield running
