// Moving in: a session that Baileys itself linked, stored in MongoDB as the seed's Node system stores it, goes on with
// this server: no code, the same device, the same conversations.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import makeWASocket, { BufferJSON, DisconnectReason, initAuthCreds, proto } from "baileys";
import { MongoClient } from "mongodb";
import pino from "pino";
import * as processes from "./processes.mjs";

const { until } = processes;
// libsignal-node prints its sessions, keys included.
console.info = () => {};
const SESSION = "ventas";

/// The database's address, with a database of this run's own.
function databaseUri() {
  const [server, options] = process.env.TEST_MONGODB_URI.split("?");
  return `${server.replace(/\/$/, "")}/moving_in_${process.pid}${options ? `?${options}` : ""}`;
}

/// Baileys' auth state in the collections of the seed, one document a key.
async function mongoAuthState(db) {
  const states = db.collection("authstates");
  const keys = db.collection("authkeys");
  await states.createIndex({ sessionId: 1 }, { unique: true });
  await keys.createIndex({ sessionId: 1, type: 1, id: 1 }, { unique: true });
  const plain = (value) => JSON.parse(JSON.stringify(value, BufferJSON.replacer));
  const revived = (value) => JSON.parse(JSON.stringify(value), BufferJSON.reviver);
  const stored = await states.findOne({ sessionId: SESSION });
  const creds = stored ? revived(stored.creds) : initAuthCreds();
  return {
    creds,
    save: () => states.updateOne({ sessionId: SESSION }, { $set: { creds: plain(creds), updatedAt: new Date() } }, { upsert: true }),
    keys: {
      get: async (type, ids) => {
        const rows = await keys.find({ sessionId: SESSION, type, id: { $in: ids } }).toArray();
        return Object.fromEntries(rows.map(({ id, value }) => {
          const found = revived(value);
          return [id, type === "app-state-sync-key" ? proto.Message.AppStateSyncKeyData.fromObject(found) : found];
        }));
      },
      set: async (data) => {
        const writes = [];
        for (const [type, values] of Object.entries(data)) {
          for (const [id, value] of Object.entries(values)) {
            const filter = { sessionId: SESSION, type, id };
            writes.push(value
              ? { updateOne: { filter, update: { $set: { value: plain(value), updatedAt: new Date() } }, upsert: true } }
              : { deleteOne: { filter } });
          }
        }
        if (writes.length > 0) await keys.bulkWrite(writes, { ordered: false });
      },
    },
  };
}

/// Links with Baileys and talks until `talk` is done; then Baileys is gone.
async function asBaileys(db, whatsapp, talk) {
  const auth = await mongoAuthState(db);
  const texts = [];
  let saving = Promise.resolve();
  const connect = () => new Promise((resolve, reject) => {
    const socket = makeWASocket({
      auth, waWebSocketUrl: whatsapp.socket, version: [2, 3000, 1027934701], logger: pino({ level: "silent" }),
    });
    socket.ev.on("creds.update", () => { saving = saving.then(auth.save); });
    socket.ev.on("messages.upsert", ({ messages }) => {
      for (const { message, key } of messages) {
        const text = message?.conversation ?? message?.extendedTextMessage?.text;
        if (text && !key.fromMe) texts.push(text);
      }
    });
    socket.ev.on("connection.update", async ({ qr, connection, lastDisconnect }) => {
      try {
        if (qr) assert.ok((await fetch(`${whatsapp.admin}/admin/mock-phone/scan-qr`, { method: "POST", body: qr })).ok);
        if (connection === "open") resolve(socket);
        if (connection === "close") {
          const code = lastDisconnect?.error?.output?.statusCode;
          if (code === DisconnectReason.restartRequired) connect().then(resolve, reject);
          else reject(new Error(`the connection ended with ${code}`));
        }
      } catch (error) { reject(error); }
    });
  });
  const socket = await connect();
  await talk(socket, auth.creds, (text) => until(`"${text}" at Baileys`, () => texts.includes(text)));
  await socket.end(undefined);
  await saving;
  await auth.save();
}

processes.suite("moving in", async () => {
  const whatsapp = await processes.standIn();
  const admin = async (path, body) => {
    const response = await fetch(`${whatsapp.admin}/admin/${path}`, { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers: { "content-type": "application/json" } });
    assert.ok(response.ok, `${path}: ${response.status} ${await response.clone().text()}`);
    return response.json();
  };
  const contact = whatsapp.contact;
  const says = (to, text) => admin(`phones/${contact}/send`, { to, text });
  const has = (text) => until(`"${text}" at the contact`, async () => (await admin(`phones/${contact}/received?brief=true`)).some((message) => message.text === text));

  const uri = databaseUri();
  const client = await new MongoClient(uri).connect();
  const db = client.db();
  const now = new Date();
  await db.collection("sessions").insertOne({
    sessionId: SESSION, name: "Ventas", phone: null, isConnected: true, lastActivity: now, qrCode: null, status: "connected",
    connectionAttempts: 0, lastConnectionAttempt: now, lastDisconnectReason: null, messagesSent: 2, messagesReceived: 2, totalChats: 2,
    memoryUsage: 40.5, lastHealthCheck: now, isActive: true, userAgent: null, platform: null, version: null, createdAt: now, updatedAt: now, __v: 0,
  });

  // Baileys links, and has conversations: with a contact, who wrote first and answers; in a group.
  let number;
  let group;
  await asBaileys(db, whatsapp, async (baileys, creds, gets) => {
    number = creds.me.id.split(/[:@]/)[0];
    await says(number, "primero");
    await gets("primero");
    await baileys.sendMessage(`${contact}@s.whatsapp.net`, { text: "hola" });
    await has("hola");
    await gets("hola");
    ({ group } = await admin("groups", { owner: contact, subject: "Equipo", members: [number] }));
    await says(group, "al grupo");
    await gets("al grupo");
    await baileys.sendMessage(group, { text: "desde el grupo" });
    await has("desde el grupo");
  });
  const devices = (await admin("devices")).length;
  // What Baileys itself asked for again while it linked is its own affair.
  const toBaileys = (await admin("accounting")).to_companions.length;
  // Of the 812 one-time keys the first are enough here: the MongoDB of the tests takes a minute to write them all anew.
  const surplus = (await db.collection("authkeys").distinct("id", { type: "pre-key" })).filter((id) => Number(id) > 40);
  assert.ok(surplus.length > 700, `${surplus.length} keys`);
  for (const id of surplus) await db.collection("authkeys").deleteOne({ sessionId: SESSION, type: "pre-key", id });
  const linked = await db.collection("authkeys").countDocuments({ sessionId: SESSION });
  // Written while nobody is there, with the keys that Baileys knows.
  await says(number, "mientras tanto");
  await says(group, "mientras tanto en el grupo");

  // A look changes nothing.
  const env = { MONGODB_URI: uri, CENTRALITA_KEYS: `test:${randomBytes(32).toString("base64")}` };
  const look = JSON.parse(processes.run(["import", "--dry-run"], env)).sessions[SESSION];
  assert.equal(look.credentials, "baileys");
  assert.equal(look.problem, undefined);
  for (const kind of ["pre-key", "session", "sender-key", "identity-key", "lid-mapping", "app-state-sync-key"]) {
    assert.ok(look.baileys.taken[kind] > 0, `${kind}: ${JSON.stringify(look.baileys)}`);
  }
  assert.equal(await db.collection("authkeys").countDocuments({ sessionId: SESSION }), linked);
  assert.equal(await db.collection("baileysauthkeys").countDocuments({}), 0);

  const taken = JSON.parse(processes.run(["import"], env)).sessions[SESSION];
  assert.match(taken.toDo, /^nothing/);
  assert.deepEqual(taken.baileys, look.baileys);
  assert.equal(await db.collection("baileysauthkeys").countDocuments({ sessionId: SESSION }), linked);
  const again = JSON.parse(processes.run(["import"], env)).sessions[SESSION];
  assert.equal(again.credentials, "centralita");

  // The server comes up with the session: nobody scans anything.
  const { url, child } = await processes.server(whatsapp.socket, [], { env });
  const headers = { authorization: `Bearer ${processes.token("--scope", "admin")}`, "content-type": "application/json" };
  const api = async (path, body) => {
    const response = await fetch(`${url}/api/sessions/${SESSION}${path}`, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
    assert.ok(response.ok, `${path}: ${response.status} ${await response.clone().text()}`);
    return response.json();
  };
  await until("the session", async () => (await api("/details")).isConnected);
  assert.equal((await admin("devices")).length, devices, "no other device");
  const arrived = (text) => until(`"${text}" here`, async () => (await api("/messages")).messages.some(({ direction, content }) => direction === "in" && content.text === text));
  await arrived("mientras tanto");
  await arrived("mientras tanto en el grupo");
  const offset = (await admin("accounting")).by_companions.length;
  await api("/messages", { to: contact, text: "sigo yo" });
  await has("sigo yo");
  await arrived("sigo yo");
  await api("/messages", { to: group, text: "sigo en el grupo" });
  await has("sigo en el grupo");

  // Not one message had to be asked for again: the ratchets go on where Baileys left them.
  const { to_companions, by_companions } = await admin("accounting");
  const retried = [...to_companions.slice(toBaileys), ...by_companions.slice(offset)].filter(({ retries }) => retries > 0);
  assert.deepEqual(retried, []);
  await processes.stop(child);
  await db.dropDatabase();
  await client.close();
});
