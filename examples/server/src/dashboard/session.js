// A session's page: its code to link with, its conversation, its curves, what can be done with it.

import { get, post, remove, session as path } from "/dashboard/api.js";
import { curve } from "/dashboard/curve.js";
import { ago, attempt, confirmed, count, detail, el, fill, memory, status, toast } from "/dashboard/dom.js";
import { listen } from "/dashboard/live.js";

const EVERY_MS = 4000;

export function sessionPage(main, id, about) {
  let record = null;
  let chat = null;
  let picture = null;
  let closed = false;
  const title = el("div", { class: "head" });
  const problem = el("div");
  const link = el("section", { class: "card pad link", "aria-label": "Link a phone", hidden: true });
  const facts = el("section", { class: "card pad", "aria-label": "Figures" });
  const curves = el("section", { class: "card pad", "aria-label": "The last hour" });
  const chats = el("nav", { class: "chats", "aria-label": "Chats" });
  const messages = el("div", { class: "messages", role: "log", "aria-label": "Messages", tabindex: "0" });
  const to = el("input", { name: "to", placeholder: "5491155550000", "aria-label": "Phone number", autocomplete: "off" });
  const text = el("input", { name: "text", placeholder: "Write a message", "aria-label": "Message", autocomplete: "off", required: true });
  const button = el("button", { class: "primary" }, "Send");
  const compose = el("form", { class: "compose", onsubmit: send }, to, text, button);
  main.replaceChildren(title, problem,
    el("div", { class: "columns" },
      el("section", { class: "card talk", "aria-label": "Conversation" }, chats, el("div", { class: "conversation" }, messages, compose)),
      el("div", { class: "side" }, link, facts, curves)));

  async function load() {
    record = await get(path(id, "/details"));
    if (closed) return;
    showHead();
    await Promise.all([loadChats(), loadCurves(), loadLink()]);
  }

  function showHead() {
    title.replaceChildren(
      el("a", { class: "button", href: "#/", "aria-label": "All sessions" }, "←"),
      el("h1", {}, id), status(record), el("span", { class: "grow" }),
      el("div", { class: "actions" },
        record.running ? action("Stop", stop) : action("Start", start, "primary"),
        record.running && record.isConnected ? action("Log out", logOut, "danger") : null,
        action("Delete", deleteIt, "danger")));
    const more = detail(record);
    fill(problem, more && record.status !== "qr_ready" ? el("div", { class: "card problem" }, more) : "");
    fill(facts, el("h2", {}, record.name), el("dl", { class: "facts" },
      fact("Phone", record.phone ?? "not linked"), fact("Sent", count(record.messagesSent)),
      fact("Received", count(record.messagesReceived)), fact("Chats", count(record.totalChats)),
      fact("Memory", memory(record.memoryNow ?? record.memoryUsage)),
      fact("Failed attempts", count(record.connectionAttempts)), fact("Platform", record.platform ?? "–"),
      fact("Last activity", ago(record.lastActivity)), fact("Created", new Date(record.createdAt).toLocaleString())));
    compose.hidden = !record.isConnected;
  }

  const fact = (label, value) => [el("dt", {}, label), el("dd", {}, value)];
  const action = (label, run, kind) => el("button", { type: "button", class: kind, onclick: (event) => run(event.target) }, label);

  async function loadLink() {
    const waits = record.running && !record.isConnected && (record.status === "qr_ready" || record.status === "pending");
    if (!waits) { link.hidden = true; picture = null; return; }
    const step = await get(path(id, "/qr"));
    if (step.step === "qr" && picture !== step.qr) {
      picture = step.qr;
      const svg = await get(path(id, "/qr.svg")).catch(() => null);
      if (!svg || closed) return;
      const image = el("img", { class: "qr", alt: "QR code to scan with the phone", src: `data:image/svg+xml;base64,${btoa(svg)}` });
      link.replaceChildren(el("h2", {}, "Scan with the phone"),
        el("p", { class: "sub" }, "WhatsApp › Settings › Linked devices › Link a device"), image,
        about.demo ? el("p", {}, action("Scan with the simulated phone", scan, "primary")) : "",
        el("p", {}, action("Use a code instead", pairCode)));
    } else if (step.step === "pair_code") {
      picture = null;
      fill(link, el("h2", {}, "Type this code on the phone"), el("p", {}, el("code", {}, step.code)));
    } else if (step.step !== "qr") {
      picture = null;
      fill(link, el("h2", {}, "Link a phone"), el("p", { class: "sub" }, step.message ?? step.step.replaceAll("_", " ")));
    }
    link.hidden = false;
  }

  async function loadChats() {
    const page = await get(path(id, "/chats?limit=100"));
    if (closed) return;
    if (!chat && page.chats.length) chat = page.chats[0].chatId;
    to.hidden = Boolean(chat);
    fill(chats, page.chats.length ? page.chats.map((one) => el("button", { type: "button", "data-chat": one.chatId, "aria-current": one.chatId === chat ? "true" : "false" },
      one.unreadCount ? el("span", { class: "badge" }, one.unreadCount) : null,
      one.name ?? one.chatId.split("@")[0], el("span", { class: "sub" }, one.lastMessageAt ? ago(one.lastMessageAt) : ""))) : el("p", { class: "empty" }, "No chats yet."));
    await loadMessages();
  }

  chats.addEventListener("click", (event) => {
    const picked = event.target.closest("[data-chat]");
    if (!picked) return;
    chat = picked.dataset.chat;
    attempt(null, loadChats);
  });

  async function loadMessages() {
    if (!chat) { fill(messages, el("p", { class: "empty" }, "Messages appear here as they come.")); return; }
    const page = await get(path(id, `/messages?limit=100&chatId=${encodeURIComponent(chat)}`));
    if (closed) return;
    const atEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 80;
    fill(messages, page.messages.toReversed().map(bubble));
    if (atEnd) messages.scrollTop = messages.scrollHeight;
  }

  function bubble(message) {
    const content = message.content;
    const words = message.revokedAt ? "This message was taken back." : {
      text: () => content.text, reaction: () => `${content.emoji || "✕"} (reaction)`,
      media: () => `${content.media}${content.caption ? `: ${content.caption}` : ""}`, other: () => content.name.replaceAll("_", " "),
    }[content.type]?.() ?? content.type;
    const time = new Date(message.timestamp).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    const marks = { pending: "…", indeterminate: "?", failed: "not sent", sent: "✓", delivered: "✓✓", read: "✓✓ read", played: "✓✓ played" };
    return el("div", { class: `message ${message.direction}`, "data-status": message.status },
      message.direction === "in" && message.senderName ? el("small", { class: "who" }, message.senderName) : null, words,
      el("small", {}, `${time}${message.editedAt ? " · edited" : ""}${message.direction === "out" ? ` · ${marks[message.status] ?? message.status}` : ""}`));
  }

  async function loadCurves() {
    const { points } = await get(path(id, "/history"));
    if (closed || !points.length) return;
    const last = points.at(-1);
    const all = points.map((point) => point.messagesSent + point.messagesReceived);
    fill(curves, el("h2", {}, "The last hour"),
      el("p", { class: "curve-head" }, "Messages", el("b", {}, count(all.at(-1)))), curve(all, `Messages, now ${all.at(-1)}`),
      el("p", { class: "curve-head" }, "Memory", el("b", {}, memory(last.memoryUsage))),
      curve(points.map((point) => point.memoryUsage), `Memory, now ${memory(last.memoryUsage)}`));
  }

  async function send(event) {
    event.preventDefault();
    await attempt(button, async () => {
      const target = chat ?? to.value.trim();
      const sent = await post(path(id, "/messages"), { to: target, text: text.value });
      text.value = "";
      chat = sent.chatId;
      await loadChats();
    });
    text.focus();
  }

  const reload = (button, run) => attempt(button, async () => { await run(); await load(); });
  const start = (button) => reload(button, () => post(path(id, "/start")));
  const stop = (button) => reload(button, () => post(path(id, "/stop")));
  const scan = (button) => reload(button, () => post(`/api/demo/sessions/${encodeURIComponent(id)}/scan`));

  async function pairCode(button) {
    const number = prompt("Phone number, in international form");
    if (number) await reload(button, () => post(path(id, "/pair-code"), { phoneNumber: number }));
  }

  async function logOut(button) {
    if (await confirmed(`Log out ${id}?`, "The phone forgets this device. To use the session again it must be linked anew. Messages stay.", "Log out")) {
      await reload(button, () => post(path(id, "/logout")));
    }
  }

  async function deleteIt(button) {
    if (!await confirmed(`Delete ${id}?`, "It is logged out, and its credentials, messages and chats are removed for ever.", "Delete")) return;
    await attempt(button, async () => { await remove(path(id)); toast(`${id} is deleted`); location.hash = "#/"; });
  }

  let soon = 0;
  const stopListening = listen((name, event) => {
    if (event?.sessionId !== id && name !== "open") return;
    if (name === "qr") picture = null;
    clearTimeout(soon);
    soon = setTimeout(() => attempt(null, load), 120);
  });
  attempt(null, load);
  const timer = setInterval(() => document.hidden || attempt(null, load), EVERY_MS);
  return () => { closed = true; stopListening(); clearInterval(timer); clearTimeout(soon); };
}
