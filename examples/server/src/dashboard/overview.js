// The first page: totals, alerts, the table of sessions.

import { get, post } from "/dashboard/api.js";
import { ago, ask, attempt, count, detail, el, fill, memory, status } from "/dashboard/dom.js";
import { listen } from "/dashboard/live.js";

const EVERY_MS = 5000;
const PAGE = 100;

export function overview(main) {
  const totals = el("dl", { class: "totals" });
  const alerts = el("div");
  const body = el("tbody");
  const more = el("div", { class: "pad" });
  const search = el("input", { type: "search", placeholder: "Find a session by id", "aria-label": "Find a session by id" });
  const create = el("button", { class: "primary", type: "button", onclick: add }, "New session");
  main.replaceChildren(
    el("div", { class: "head" }, el("h1", {}, "Sessions"), el("span", { class: "grow" }), el("div", {}, search), create),
    totals, alerts,
    el("section", { class: "card", "aria-label": "Sessions" },
      el("table", {},
        el("thead", {}, el("tr", {},
          el("th", { scope: "col" }, "Session"), el("th", { scope: "col" }, "Status"),
          el("th", { scope: "col", class: "number" }, "Sent"), el("th", { scope: "col", class: "number" }, "Received"),
          el("th", { scope: "col", class: "number" }, "Chats"), el("th", { scope: "col", class: "number" }, "Memory"),
          el("th", { scope: "col" }, "Last activity"))),
        body), more));

  let sessions = new Map();
  let limit = PAGE;
  let dirty = false;

  async function load() {
    const [figures, page, raised] = await Promise.all([
      get("/api/sessions/stats"), get(`/api/sessions?limit=${limit}&sort=activity`), get("/api/alerts")]);
    sessions = new Map(page.sessions.map((session) => [session.sessionId, session]));
    fill(totals,
      total("Sessions", figures.totalSessions), total("Connected", figures.connectedSessions, "good"),
      total("Waiting", figures.pendingSessions), total("Disconnected", figures.disconnectedSessions),
      total("Need you", figures.errorSessions, figures.errorSessions ? "bad" : ""),
      total("Messages", figures.totalMessages), total("Chats", figures.totalChats));
    showAlerts(raised.alerts);
    fill(more, page.next && limit < 1000 ? el("button", { type: "button", id: "more" }, "Show more") : "");
    more.querySelector("#more")?.addEventListener("click", () => { limit = Math.min(1000, limit * 5); attempt(null, load); });
    show();
  }

  function show() {
    const wanted = search.value.trim().toLowerCase();
    const rows = [...sessions.values()].filter((session) => !wanted || session.sessionId.toLowerCase().includes(wanted) || session.name.toLowerCase().includes(wanted));
    fill(body, rows.length ? rows.map(row) : el("tr", {}, el("td", { colspan: 7, class: "empty" },
      wanted ? "No session of this name among those shown." : "No session yet. Create one, then scan its code with the phone.")));
  }

  function row(session) {
    const more = detail(session);
    return el("tr", { "data-session": session.sessionId },
      el("td", {}, el("a", { href: `#/session/${encodeURIComponent(session.sessionId)}` }, session.sessionId,
        el("span", { class: "sub" }, session.name === session.sessionId ? session.phone ?? "not linked" : `${session.name}${session.phone ? ` · ${session.phone}` : ""}`))),
      el("td", {}, status(session), more ? el("span", { class: "sub" }, more) : null),
      el("td", { class: "number", "data-label": "sent" }, count(session.messagesSent)),
      el("td", { class: "number", "data-label": "received" }, count(session.messagesReceived)),
      el("td", { class: "number", "data-label": "chats" }, count(session.totalChats)),
      el("td", { class: "number", "data-label": "memory" }, memory(session.memoryUsage)),
      el("td", { class: "last" }, el("span", { class: "sub" }, ago(session.lastActivity))));
  }

  function showAlerts(list) {
    fill(alerts, list.length ? el("ul", { class: "alerts card", "aria-label": "Alerts" }, list.slice(0, 8).map((alert) =>
      el("li", { class: alert.resolvedAt ? "over" : "" },
        el("span", { class: `status ${alert.resolvedAt ? "inactive" : "error"}` }, alert.rule.replaceAll("_", " ")),
        alert.sessionId ? el("a", { href: `#/session/${encodeURIComponent(alert.sessionId)}` }, alert.sessionId) : null,
        el("span", {}, alert.message),
        el("time", {}, alert.resolvedAt ? `over ${ago(alert.resolvedAt)}` : ago(alert.firedAt))))) : "");
  }

  async function add() {
    const fields = await ask("New session", "Create", [{ name: "sessionId", label: "Id", required: true, placeholder: "sales" }]);
    if (!fields?.sessionId) return;
    await attempt(create, async () => {
      await post("/api/sessions", { sessionId: fields.sessionId.trim() });
      location.hash = `#/session/${encodeURIComponent(fields.sessionId.trim())}`;
    });
  }

  search.addEventListener("input", show);
  const stop = listen((name, event) => {
    if (name === "open" || name === "alert") dirty = true;
    const session = event?.sessionId && sessions.get(event.sessionId);
    if (name === "status") {
      if (!session) dirty = true;
      else { session.status = event.data.status; session.statusDetail = event.data.detail; show(); }
    }
    if (name === "message" && session) {
      session[event.data.direction === "out" ? "messagesSent" : "messagesReceived"] += 1;
      session.lastActivity = event.at;
      show();
    }
  });
  attempt(null, load);
  const timer = setInterval(() => document.hidden || attempt(null, load), EVERY_MS);
  const soon = setInterval(() => { if (dirty) { dirty = false; attempt(null, load); } }, 400);
  return () => { stop(); clearInterval(timer); clearInterval(soon); };
}

function total(label, value, kind = "") {
  return el("div", { class: `total card ${kind}` }, el("dt", {}, label), el("dd", {}, count(value)));
}
