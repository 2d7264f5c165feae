// Starts the programs under test, and ends them.

import { spawn, execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const SECRET = "a secret for tests of 32 bytes..";
const PROGRAMS = process.env.PROGRAMS;
const PATIENCE_MS = 30_000;
const running = new Set();

/// Resolves with what `find` makes of a line of the stream.
function line(stream, what, find) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE_MS);
    const lines = createInterface({ input: stream });
    const seen = [];
    lines.on("line", (text) => {
      seen.push(text);
      const found = find(text);
      if (found !== undefined) { clearTimeout(timer); resolve(found); }
    });
    lines.on("close", () => { clearTimeout(timer); reject(new Error(`it ended before ${what}:\n${seen.join("\n")}`)); });
  });
}

function start(name, args, env, folder) {
  const child = spawn(join(PROGRAMS, name), args, { env: { ...process.env, ...env }, cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  running.add(child);
  child.on("exit", () => running.delete(child));
  return child;
}

export async function standIn() {
  const child = start("centralita-stand-in", ["--demo-contacts", "1", "--echo"], {});
  child.stderr.resume();
  const { admin_url, web_socket_url, contacts } = await line(child.stdout, "the stand-in", (text) => (text.startsWith("{") ? JSON.parse(text) : undefined));
  return { admin: admin_url, socket: web_socket_url, contact: contacts[0] };
}

/// A server on an SQLite file in `folder` (else in one of its own, which goes with it), or on what `env` says.
export async function server(socket, more = [], { env = {}, folder } = {}) {
  const own = folder ?? newFolder();
  const child = start("centralita-server", ["--bind", "127.0.0.1", "--port", "0", "--log-format", "json", "--restore-after-s", "0",
    "--whatsapp-version", "2.3000.1027934701", "--rate-limit-per-s", "0", ...more],
    { JWT_SECRET: SECRET, CENTRALITA_STAND_IN_URL: socket, ...env }, own);
  child.stdout.resume();
  const address = await line(child.stderr, "the server", (text) => {
    const entry = text.startsWith("{") ? JSON.parse(text) : {};
    return entry.message === "listening" ? entry.address : undefined;
  });
  if (!folder) child.on("exit", () => rmSync(own, { recursive: true, force: true }));
  return { url: `http://${address}`, child };
}

export const newFolder = () => mkdtempSync(join(tmpdir(), "centralita-"));

/// Runs the program to its end and returns what it printed on standard output.
export function run(args, env) {
  return execFileSync(join(PROGRAMS, "centralita-server"), args, { env: { ...process.env, ...env } }).toString();
}

export async function demo(env) {
  const child = start("centralita-server", ["--demo", "--port", "0"], env);
  child.stderr.resume();
  const link = await line(child.stdout, "the dashboard's link", (text) => text.match(/http:\S+/)?.[0]);
  return { link, child };
}

export function token(...args) {
  return run(["token", ...args], { JWT_SECRET: SECRET }).trim();
}

export async function until(what, condition, patience_ms = PATIENCE_MS) {
  const end = Date.now() + patience_ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function stop(child, signal = "SIGTERM") {
  if (child.exitCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await ended;
}

export function end(code) {
  for (const child of running) child.kill("SIGKILL");
  process.exit(code);
}

/// Runs a suite; whatever it started ends with it.
export function suite(name, run) {
  run().then(
    () => { console.log(`${name}: ok`); end(0); },
    (error) => { console.error(`${name}:`, error); end(1); });
}
