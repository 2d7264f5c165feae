// Begins: a token from a one-time link or from the user, then the page that the address names.

import { get, post, token } from "/dashboard/api.js";
import { attempt, el, toast } from "/dashboard/dom.js";
import * as live from "/dashboard/live.js";
import { overview } from "/dashboard/overview.js";
import { sessionPage } from "/dashboard/session.js";

const main = document.getElementById("main");
const leave = document.getElementById("leave");
let about = { demo: false };
let end = () => {};

async function begin() {
  about = await get("/api/about");
  document.getElementById("demo").hidden = !about.demo;
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (code) {
    // Out of the address at once: it must not be in the history.
    history.replaceState(null, "", "/");
    const exchanged = await attempt(null, () => post("/api/auth/exchange", { code }));
    if (exchanged) token.set(exchanged.token);
  }
  route();
}

function route() {
  end();
  end = () => {};
  leave.hidden = !token.get();
  if (!token.get()) { signIn(); return; }
  live.open();
  const [, page, id] = location.hash.split("/");
  end = page === "session" && id ? sessionPage(main, decodeURIComponent(id), about) : overview(main);
}

function signIn() {
  const field = el("input", { name: "token", type: "password", required: true, autocomplete: "off", "aria-label": "Token" });
  main.replaceChildren(el("form", { class: "sign-in card", onsubmit: async (event) => {
    event.preventDefault();
    token.set(field.value.trim());
    try {
      await get("/api/sessions?limit=1");
      route();
    } catch (error) {
      token.forget();
      toast(error.message, true);
    }
  } }, el("h1", {}, "Sign in"), el("label", {}, "Token", field),
    el("p", { class: "sub" }, "Make one where the server runs: ", el("code", {}, "centralita-server token --scope admin")),
    el("button", { class: "primary" }, "Sign in")));
  field.focus();
}

leave.addEventListener("click", () => { token.forget(); live.close(); location.hash = "#/"; route(); });
document.getElementById("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  localStorage.setItem("centralita-theme", next);
});
const stored = localStorage.getItem("centralita-theme");
if (stored) document.documentElement.dataset.theme = stored;

const sign = document.getElementById("live");
live.listen((name, event) => {
  if (name === "open") { sign.textContent = "live"; sign.classList.add("on"); }
  if (name === "closed") { sign.textContent = "reconnecting"; sign.classList.remove("on"); }
  if (name === "alert") toast(`${event.data.state === "fired" ? "Alert" : "Over"}: ${event.data.sessionId ?? "store"}: ${event.data.message}`, event.data.state === "fired");
});
addEventListener("hashchange", route);
begin().catch((error) => { main.textContent = error.message; });
