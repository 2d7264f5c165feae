// Live events. Socket.IO's protocol over a WebSocket, as much of it as a page needs: connect with the token, subscribe
// to everything the token may see, answer pings, come back after a loss.

import { token } from "/dashboard/api.js";

const listeners = new Set();
let socket;
let wanted = false;
let pause = 500;
let acks = 0;

/// Calls `listener(name, event)`, and with the name `open` or `closed` when the connection changes.
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

const tell = (name, event) => listeners.forEach((listener) => listener(name, event));

export function open() {
  wanted = true;
  if (socket) return;
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  socket = new WebSocket(`${scheme}://${location.host}/socket.io/?EIO=4&transport=websocket`);
  socket.onmessage = ({ data }) => receive(String(data));
  socket.onclose = () => {
    socket = undefined;
    tell("closed");
    if (wanted) setTimeout(() => wanted && open(), pause);
    pause = Math.min(pause * 2, 15000);
  };
}

export function close() {
  wanted = false;
  socket?.close();
}

function receive(packet) {
  if (packet.startsWith("0")) socket.send(`40${JSON.stringify({ token: token.get() })}`);
  else if (packet === "2") socket.send("3");
  else if (packet.startsWith("40")) {
    pause = 500;
    socket.send(`42${acks++}${JSON.stringify(["subscribe", { sessions: "*" }])}`);
    tell("open");
  } else if (packet.startsWith("42")) {
    const [name, event] = JSON.parse(packet.slice(packet.indexOf("[")));
    tell(name, event);
  }
}
