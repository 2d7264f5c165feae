"""A web application: sessions linked in the browser, live events, and a webhook-like handler for each message.

    pip install fastapi uvicorn
    uvicorn web:app --timeout-graceful-shutdown 5

| request | does |
| --- | --- |
| POST /sessions/{id} | creates and starts a session |
| GET /sessions | the records |
| GET /sessions/{id}/qr.svg | the code to scan |
| POST /sessions/{id}/messages | sends {"to", "text"} |
| GET /events | what happens, as Server-Sent Events |
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

import centralita
from centralita import CentralitaError, Message, Service

STATUS_OF = {
    "invalid": 422,
    "not_found": 404,
    "invalid_state": 409,
    "conflict": 409,
    "rate_limited": 429,
    "timeout": 504,
    "unavailable": 503,
}


class Outgoing(BaseModel):
    """What to send."""

    to: str
    text: str
    idempotency_key: str | None = None


async def on_message(message: Message) -> None:
    """Where other systems would be told of a message by a webhook, a coroutine is called."""
    if message.text == "/ping":
        await message.reply("pong")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The service lives as long as the application, on its loop."""
    async with Service(store=os.environ.get("CENTRALITA_STORE", "centralita.db")) as wa:
        wa.on(Message)(on_message)
        app.state.wa = wa
        await wa.restore_all()
        yield


app = FastAPI(title="centralita", lifespan=lifespan)


def service(request: Request) -> Service:
    """The service of this application."""
    wa: Service = request.app.state.wa
    return wa


@app.exception_handler(CentralitaError)
async def failed(_: Request, error: CentralitaError) -> JSONResponse:
    """Errors by what the caller must do."""
    headers = {"Retry-After": str(int(error.retry_after + 1))} if error.retry_after else None
    return JSONResponse({"error": error.kind, "detail": str(error)}, STATUS_OF.get(error.kind, 500), headers)


@app.post("/sessions/{session_id}", status_code=201)
async def create(session_id: str, request: Request) -> dict[str, Any]:
    """Creates and starts a session."""
    session = await service(request).create_session(session_id)
    return asdict(await session.record())


@app.get("/sessions")
async def sessions(request: Request) -> list[dict[str, Any]]:
    """The first hundred records."""
    page = await service(request).manager.list_sessions()
    return [asdict(record) for record in page.items]


@app.get("/sessions/{session_id}/qr.svg")
async def qr(session_id: str, request: Request) -> Response:
    """The code to scan, while there is one."""
    record = await service(request).manager.get_session(session_id)
    if record.qr_code is None:
        raise HTTPException(404, f"the session is {record.status}; there is no code to scan")
    return Response(centralita.QrCode(record.qr_code).to_svg(), media_type="image/svg+xml")


@app.post("/sessions/{session_id}/messages")
async def send(session_id: str, outgoing: Outgoing, request: Request) -> dict[str, Any]:
    """Sends a text."""
    session = await service(request).session(session_id)
    return asdict(await session.send(outgoing.to, outgoing.text, idempotency_key=outgoing.idempotency_key))


@app.get("/events")
async def events(request: Request) -> StreamingResponse:
    """What happens. A browser that is too slow loses the oldest events and is told how many."""
    stream = service(request).events(overflow="drop_oldest")

    async def lines() -> AsyncIterator[str]:
        async with stream:
            # A first line, so that the client knows that it hears everything from now on.
            yield ": listening\n\n"
            async for event in stream:
                yield as_text(event)

    return StreamingResponse(lines(), media_type="text/event-stream")


def as_text(event: centralita.Event) -> str:
    """An event as Server-Sent Events have it."""
    data: dict[str, Any] = {"session": event.session_id, "seq": event.seq, "at": event.at.isoformat()}
    if isinstance(event, Message):
        data |= {"chat": event.chat_id, "text": event.text, "fromMe": event.from_me}
    if isinstance(event, centralita.StatusChanged):
        data["status"] = event.status
    return f"event: {type(event).__name__}\ndata: {json.dumps(data)}\n\n"
