// Requests made from the OpenAPI document, against a server with a session that is linked and one that is not.

import { spawn } from "node:child_process";
import { join } from "node:path";
import * as processes from "./processes.mjs";

processes.suite("schemathesis", async () => {
  const whatsapp = await processes.standIn();
  const { url } = await processes.server(whatsapp.socket);
  const token = processes.token("--scope", "admin");
  // Not `spawnSync`: somebody must read the server's log meanwhile.
  const run = spawn(join(process.env.PLACE, "venv/bin/schemathesis"), [
    "run", `${url}/api/openapi.json`, "--header", `Authorization: Bearer ${token}`,
    "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
    "--phases", "examples,coverage,fuzzing", "--max-time", "75", "--seed", "1", "--workers", "1",
    "--request-timeout", "35", "--continue-on-failure", "--warnings", "off", "--no-color",
  ], { stdio: "inherit", cwd: process.env.PLACE, timeout: 180_000 });
  const status = await new Promise((resolve) => run.on("exit", resolve));
  if (status !== 0) throw new Error(`it ended with ${status}`);
});
