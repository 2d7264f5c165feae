// Socket.IO with the official client.

import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { io } from "socket.io-client";
import * as processes from "./processes.mjs";

const { until } = processes;

/// A client that keeps what it gets.
function connect(url, auth, options = {}) {
  const socket = io(url, { auth, transports: ["websocket"], reconnection: false, forceNew: true, ...options });
  const events = [];
  socket.onAny((name, event) => events.push({ name, ...event }));
  return { socket, events };
}

const connected = (socket) => until("a connection", () => socket.connected);

function refused(url, auth) {
  return new Promise((resolve, reject) => {
    const { socket } = connect(url, auth);
    socket.on("connect", () => reject(new Error("it was let in")));
    socket.on("connect_error", (error) => { socket.close(); resolve(error.message); });
  });
}

processes.suite("socket.io", async () => {
  const whatsapp = await processes.standIn();
  const folder = processes.newFolder();
  let { url, child } = await processes.server(whatsapp.socket, [], { folder });
  const admin = processes.token("--scope", "admin");
  const headers = { authorization: `Bearer ${admin}`, "content-type": "application/json" };
  const post = async (path, body) => {
    const response = await fetch(url + path, { method: "POST", headers, body: body && JSON.stringify(body) });
    assert.ok(response.ok, `${path}: ${response.status} ${await response.clone().text()}`);
    return response.json();
  };

  // Only with a token, and one that may read.
  assert.match(await refused(url, {}), /no token/);
  assert.match(await refused(url, { token: "nonsense" }), /not valid/);
  assert.match(await refused(url, { token: processes.token("--scope", "send") }), /scope read/);

  // Codes go to `admin` only; another tenant sees nothing and may not ask.
  const boss = connect(url, { token: admin });
  const reader = connect(url, { token: processes.token("--scope", "read") }, { transports: ["polling"] });
  const stranger = connect(url, { token: processes.token("--scope", "read", "--sessions", "other") });
  for (const { socket } of [boss, reader, stranger]) await connected(socket);
  const { epoch } = await boss.socket.emitWithAck("subscribe", { sessions: ["ventas"] });
  await reader.socket.emitWithAck("subscribe", { sessions: "*" });
  await stranger.socket.emitWithAck("subscribe", { sessions: "*" });
  const no = await stranger.socket.emitWithAck("subscribe", { sessions: ["ventas"] });
  assert.match(no.error.message, /not for one of these/);
  for (const wrong of [{}, { sessions: 1 }, { sessions: ["a"], since: { a: "x" } }, "text"]) {
    assert.equal((await boss.socket.emitWithAck("subscribe", wrong)).error.code, "invalid");
  }

  await post("/api/sessions", { sessionId: "ventas" });
  const qr = await until("a code", () => boss.events.find((event) => event.name === "qr"));
  const scanned = await fetch(`${whatsapp.admin}/admin/mock-phone/scan-qr`, { method: "POST", body: qr.data.text });
  assert.ok(scanned.ok);
  await until("the status", () => boss.events.find((event) => event.name === "status" && event.data.status === "connected"));
  await until("the status by polling", () => reader.events.find((event) => event.name === "status" && event.data.status === "connected"));
  assert.equal(reader.events.filter((event) => event.name === "qr").length, 0);

  // A message out, its receipt, and the echo in; numbers rise.
  await post("/api/sessions/ventas/messages", { to: whatsapp.contact, text: "hola" });
  const echo = await until("the echo", () => boss.events.find((event) => event.name === "message" && event.data.direction === "in"));
  assert.equal(echo.data.content.text, "hola");
  assert.equal(echo.sessionId, "ventas");
  await until("a receipt", () => boss.events.find((event) => event.name === "receipt" && event.data.status === "delivered"));
  const numbers = boss.events.filter((event) => event.seq).map((event) => event.seq);
  assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));

  // It goes away, misses two messages, comes back, and gets exactly those.
  const last = numbers.at(-1);
  boss.socket.close();
  for (const text of ["uno", "dos"]) await post("/api/sessions/ventas/messages", { to: whatsapp.contact, text });
  const incoming = (events) => events.filter((event) => event.event === "message" && event.data.direction === "in").map((event) => event.data.content.text);
  await until("both echoes", () => incoming(reader.events.map((event) => ({ ...event, event: event.name }))).length === 3);
  const back = connect(url, { token: admin });
  await connected(back.socket);
  const missed = await back.socket.emitWithAck("subscribe", { sessions: ["ventas"], since: { ventas: last }, epoch });
  assert.equal(missed.epoch, epoch);
  const { ventas } = missed.sessions;
  assert.equal(ventas.incomplete, false);
  assert.deepEqual(incoming(ventas.events), ["uno", "dos"]);
  assert.ok(ventas.events.every((event) => event.seq > last && event.seq <= ventas.seq));
  const other = await back.socket.emitWithAck("subscribe", { sessions: ["ventas"], since: { ventas: last }, epoch: "of another process" });
  assert.equal(other.sessions.ventas.incomplete, true);
  // Numbers are unique, over what was emitted and what was told.
  const every = [...boss.events, ...ventas.events].filter((event) => event.sessionId === "ventas" && event.seq).map((event) => event.seq);
  assert.equal(new Set(every).size, every.length);
  await post("/api/sessions/ventas/messages", { to: whatsapp.contact, text: "tres" });
  const live = await until("what comes after", () => back.events.find((event) => event.name === "message" && event.data.content.text === "tres"));
  assert.ok(live.seq > ventas.seq);
  assert.equal(stranger.events.filter((event) => event.sessionId).length, 0);

  // No longer subscribed: nothing more.
  await back.socket.emitWithAck("unsubscribe", { sessions: ["ventas"] });
  const before = back.events.length;
  await post("/api/sessions/ventas/messages", { to: whatsapp.contact, text: "cuatro" });
  await until("the echo elsewhere", () => reader.events.find((event) => event.name === "message" && event.data.content.text === "cuatro" && event.data.direction === "in"));
  assert.equal(back.events.length, before);

  // A client that reads nothing is let go, and holds up nobody.
  const slow = connect(url, { token: admin });
  await connected(slow.socket);
  await slow.socket.emitWithAck("subscribe", { sessions: ["ventas"] });
  slow.socket.io.engine.transport.ws._socket?.pause();
  let sent = 0;
  const metrics = async () => (await fetch(`${url}/metrics`, { headers })).text();
  await until("the slow client's end", async () => {
    await Promise.all(Array.from({ length: 50 }, (_, n) => post("/api/sessions/ventas/messages", { to: whatsapp.contact, text: `${"x".repeat(20_000)}${sent + n}` })));
    sent += 50;
    return /centralita_socket_io_too_slow \d/.test(await metrics());
  }, 90_000);
  slow.socket.close();

  // The server is killed and comes back: what a client missed meanwhile is told as if nothing had been.
  const watcher = connect(url, { token: admin });
  await connected(watcher.socket);
  const before_kill = (await watcher.socket.emitWithAck("subscribe", { sessions: ["ventas"] })).sessions.ventas.seq;
  await post("/api/sessions/ventas/messages", { to: whatsapp.contact, text: "justo antes" });
  await until("its echo", () => watcher.events.find((event) => event.name === "message" && event.data.direction === "in" && event.data.content.text === "justo antes"));
  watcher.socket.close();
  await processes.stop(child, "SIGKILL");
  ({ url, child } = await processes.server(whatsapp.socket, [], { folder }));
  await post("/api/sessions/ventas/messages", { to: whatsapp.contact, text: "justo después", queueForS: 60 });
  const witness = connect(url, { token: admin });
  await connected(witness.socket);
  const told = [];
  let since = before_kill;
  await until("both echoes", async () => {
    const { sessions } = await witness.socket.emitWithAck("subscribe", { sessions: ["ventas"], since: { ventas: since }, epoch });
    told.push(...sessions.ventas.events);
    assert.equal(sessions.ventas.incomplete, false);
    since = sessions.ventas.seq;
    return incoming(told).includes("justo después");
  });
  // Echoes of what the slow client did not read may still come in between.
  assert.deepEqual(incoming(told).filter((text) => text.startsWith("justo")), ["justo antes", "justo después"]);
  const seqs = told.map((event) => event.seq);
  assert.deepEqual(seqs, Array.from(seqs, (_, index) => before_kill + 1 + index), "each once, in order, none left out");
  await processes.stop(child);
  rmSync(folder, { recursive: true });
});
