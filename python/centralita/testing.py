"""A local WhatsApp for tests of your own: ``pip install centralita-testing``.

The wheel brings a pytest plugin with the fixture ``stand_in``, and a native module of its own that reaches loopback
alone and takes the place of the shipped one. This module is what it offers, under the name where one looks for it.
"""

from __future__ import annotations

try:
    from centralita_testing import (  # type: ignore[import-not-found,unused-ignore]
        Phone,
        Received,
        StandIn,
    )
except ModuleNotFoundError as error:
    if error.name != "centralita_testing":
        raise
    raise ModuleNotFoundError(
        "the stand-in is a package of its own: pip install centralita-testing", name=error.name
    ) from None

__all__ = ["Phone", "Received", "StandIn"]
