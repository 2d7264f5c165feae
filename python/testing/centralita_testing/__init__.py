"""A local WhatsApp for tests: a server on loopback with simulated phones, in this process.

pytest finds the plugin by itself; its fixture ``stand_in`` is a running ``StandIn``, and every ``centralita.Service``
that is made while it runs talks to it. Outside pytest, import this package before ``centralita``:

    import centralita_testing, centralita

It brings a build of the native module that takes the place of the shipped one. That build checks no certificate, and
therefore reaches loopback alone.
"""

from __future__ import annotations

import sys

from . import _native


def _take_the_place_of_the_shipped_module() -> None:
    loaded = sys.modules.get("centralita._native")
    if loaded is None:
        sys.modules["centralita._native"] = _native
    elif loaded is not _native:
        raise ImportError(
            "centralita was imported before centralita_testing, with the native module that talks to WhatsApp; "
            "import centralita_testing first (under pytest its plugin does so, unless plugins are switched off)"
        )


_take_the_place_of_the_shipped_module()

from .stand_in import Phone, Received, StandIn  # noqa: E402 - after the module is in its place

__all__ = ["Phone", "Received", "StandIn"]
