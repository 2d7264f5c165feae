"""Django without async: one file, one process.

    pip install django
    python django_app.py runserver --noreload

The service is made on the first request, in the process that serves it: servers fork their workers before that.

| request | does |
| --- | --- |
| POST /sessions/ID/ | creates and starts a session; the text of its QR code, or its status |
| POST /send/ID/ | sends the form's `to` and `text` |
| GET /statistics/ | the figures of the whole system |
"""

import atexit
import os
import sys
import threading
from dataclasses import asdict

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from centralita import CentralitaError
from centralita.sync import Service

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        ROOT_URLCONF=__name__,
        SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "only for this example"),
    )

_service: Service | None = None
_starting = threading.Lock()


def service() -> Service:
    """The service of this process."""
    global _service
    with _starting:
        if _service is None:
            _service = Service(store=os.environ.get("CENTRALITA_STORE", "centralita.db")).start()
            atexit.register(_service.shutdown)
        return _service


def answer(work):
    """A view whose errors become answers."""

    def view(request: HttpRequest, **arguments: str) -> JsonResponse:
        try:
            return JsonResponse(work(request, **arguments))
        except CentralitaError as error:
            return JsonResponse({"error": error.kind, "detail": str(error)}, status=400)

    return view


@answer
def create(request: HttpRequest, session_id: str) -> dict:
    session = service().create_session(session_id)
    step = next(session.link())
    return {"qr": step.qr.text if step.qr else None, "step": str(step.kind)}


@answer
def send(request: HttpRequest, session_id: str) -> dict:
    sent = service().session(session_id).send(request.POST["to"], request.POST["text"])
    return {"messageId": sent.key.message_id, "status": sent.status}


@answer
def statistics(request: HttpRequest) -> dict:
    return asdict(service().manager.get_statistics())


urlpatterns = [
    path("sessions/<session_id>/", csrf_exempt(require_POST(create))),
    path("send/<session_id>/", csrf_exempt(require_POST(send))),
    path("statistics/", statistics),
]

if __name__ == "__main__":
    django.setup()
    execute_from_command_line(sys.argv)
