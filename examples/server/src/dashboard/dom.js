// Small help to build elements. Text is always text, never markup: it comes from strangers.

export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/// Puts `children` into `parent` unless they are there already in the same form: focus and scroll stay.
export function fill(parent, ...children) {
  const next = el("div", {}, ...children);
  if (parent.innerHTML !== next.innerHTML) parent.replaceChildren(...next.childNodes);
}

export function toast(text, isBad = false) {
  const shown = el("div", { class: isBad ? "toast bad" : "toast" }, text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), 6000);
}

/// Runs what a button does; an error is shown, not swallowed.
export async function attempt(button, action) {
  if (button) button.disabled = true;
  try {
    return await action();
  } catch (error) {
    toast(error.message, true);
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

/// Asks before something that cannot be undone.
export function confirmed(title, text, label) {
  const dialog = document.getElementById("dialog");
  return new Promise((resolve) => {
    const form = el("form", { method: "dialog" },
      el("div", {}, el("h2", { id: "dialog-title" }, title), el("p", {}, text)),
      el("div", { class: "end" },
        el("button", { value: "no", autofocus: true }, "Cancel"),
        el("button", { value: "yes", class: "danger" }, label)));
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.returnValue = "no";
    dialog.showModal();
  });
}

/// Asks for the fields of a form; undefined if cancelled.
export function ask(title, label, fields) {
  const dialog = document.getElementById("dialog");
  return new Promise((resolve) => {
    const form = el("form", { method: "dialog" },
      el("h2", { id: "dialog-title" }, title),
      fields.map((field) => el("label", {}, field.label, el("input", { name: field.name, required: field.required, placeholder: field.placeholder, maxlength: 128, autocomplete: "off" }))),
      el("div", { class: "end" },
        el("button", { value: "no", type: "button", onclick: () => dialog.close("no") }, "Cancel"),
        el("button", { value: "yes", class: "primary" }, label)));
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => {
      resolve(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : undefined);
    }, { once: true });
    dialog.returnValue = "no";
    dialog.showModal();
  });
}

export function ago(date) {
  const seconds = Math.max(0, (Date.now() - new Date(date)) / 1000);
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return new Date(date).toLocaleDateString();
}

export const count = (number) => Number(number).toLocaleString("en");
export function memory(megabytes) {
  if (!megabytes) return "–";
  return megabytes < 1 ? `${(megabytes * 1024).toFixed(megabytes < 0.01 ? 1 : 0)} kB` : `${megabytes.toFixed(megabytes < 10 ? 1 : 0)} MB`;
}

const STATUS = {
  pending: "starting", qr_ready: "waiting for a phone", connected: "connected",
  disconnected: "disconnected", error: "needs you", inactive: "put away",
};

export function status(session) {
  return el("span", { class: `status ${session.status}` }, STATUS[session.status] ?? session.status);
}

/// What the status does not say, in words.
export function detail(session) {
  const detail = session.statusDetail;
  if (!detail) return session.status === "error" ? session.lastDisconnectReason : null;
  switch (detail.kind) {
    case "back_off": return `attempt ${detail.attempt} failed, next ${new Date(detail.until).toLocaleTimeString()}`;
    case "pair_code": return "waiting for the pair code";
    case "logged_out": return "logged out";
    case "banned": return detail.until ? `banned until ${new Date(detail.until).toLocaleString()}` : "banned";
    case "failed": return detail.message;
    default: return detail.kind.replaceAll("_", " ");
  }
}
