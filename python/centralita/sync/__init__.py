"""The same service for code without ``async``: scripts, Django, Flask.

Calls wait; the loop runs in a thread of its own, which also runs the handlers. Any thread may call.

    from centralita.sync import Service

    with Service() as wa:
        session = wa.create_session("ventas")
        for step in session.link():
            print(step.qr.to_terminal() if step.qr else step)
        session.send("5491155550000", "hola")
"""

from .cleanup import CleanupService
from .consumers import Consumer, DeadLetters
from .service import Service
from .session import Session
from .session_manager import SessionManager
from .streams import Events, LinkSteps

__all__ = [
    "CleanupService",
    "Consumer",
    "DeadLetters",
    "Events",
    "LinkSteps",
    "Service",
    "Session",
    "SessionManager",
]
