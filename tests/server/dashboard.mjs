// The dashboard in a real headless Chromium, on `--demo`.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { chromium } from "playwright-core";
import * as processes from "./processes.mjs";

const SCREENSHOTS = join(process.env.PLACE, "screenshots");
mkdirSync(SCREENSHOTS, { recursive: true });

processes.suite("dashboard", async () => {
  const { link } = await processes.demo({ CENTRALITA_ALERT_MEMORY_MB: "0.001" });
  const home = new URL(link).origin;
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "light", locale: "en-GB" });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("response", (response) => response.status() >= 500 && problems.push(`${response.status()} ${response.url()}`));
  const picture = (name) => page.screenshot({ path: join(SCREENSHOTS, `${name}.png`) });

  // The printed link signs in, once, and leaves nothing in the address.
  await page.goto(link);
  await page.getByText("live", { exact: true }).waitFor();
  assert.equal(new URL(page.url()).hash.includes("code"), false);
  const row = (id) => page.locator(`tr[data-session="${id}"]`);
  for (const id of ["sales", "support", "bookings"]) await row(id).locator(".status.connected").waitFor();
  await row("new-shop").locator(".status.qr_ready").waitFor();
  const second = await (await browser.newContext()).newPage();
  await second.goto(link);
  await second.getByRole("heading", { name: "Sign in" }).waitFor();

  // Link by the simulated phone; see the status turn.
  await page.getByRole("link", { name: /new-shop/ }).click();
  await page.getByAltText("QR code to scan with the phone").waitFor();
  await picture("link");
  await page.getByRole("button", { name: "Scan with the simulated phone" }).click();
  await page.locator(".head .status.connected").waitFor();

  // A session that talks: send, read the answer.
  await page.goto(`${home}/#/session/sales`);
  await page.locator(".message.in").first().waitFor();
  await page.getByLabel("Message", { exact: true }).fill("Yes, until eight!");
  await page.keyboard.press("Enter");
  const sent = page.locator(".message.out", { hasText: "Yes, until eight!" });
  await sent.waitFor();
  await page.locator(".message.out[data-status=delivered], .message.out[data-status=read]", { hasText: "Yes, until eight!" }).waitFor();
  await page.locator(".message.in", { hasText: /Great, thank you!|Perfect|And the price|Let me think|Sounds good/ }).first().waitFor();
  await picture("session");

  // Text of strangers is text.
  await page.getByLabel("Message", { exact: true }).fill("<img src=x onerror=document.title='hacked'>");
  await page.keyboard.press("Enter");
  await page.locator(".message.out", { hasText: "<img src=x" }).waitFor();
  assert.equal(await page.title(), "centralita");

  // Dark, and a phone.
  await page.getByRole("button", { name: "Switch between light and dark" }).click();
  await page.locator(":root[data-theme=dark]").waitFor();
  await picture("session-dark");
  await page.goto(`${home}/#/`);
  await row("sales").waitFor();
  await picture("overview-dark");
  await page.getByRole("button", { name: "Switch between light and dark" }).click();
  await picture("overview");
  await page.setViewportSize({ width: 390, height: 844 });
  await picture("overview-phone");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} px wider than a phone`);
  await page.goto(`${home}/#/session/sales`);
  await page.locator(".message").first().waitFor();
  await picture("session-phone");
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth) <= 0);
  await page.setViewportSize({ width: 1280, height: 800 });

  // By keyboard alone: log out is asked for, cancelled, asked for again.
  const logOut = page.getByRole("button", { name: "Log out" });
  await logOut.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Log out sales?" }).waitFor();
  await picture("confirm");
  await page.keyboard.press("Escape");
  await page.locator(".head .status.connected").waitFor();
  await logOut.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Log out sales?" }).waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.locator(".head .status:not(.connected)").waitFor();

  // Alerts are shown (the demo was started with a limit that every session exceeds); a new session; one deleted.
  await page.goto(`${home}/#/`);
  await page.getByRole("list", { name: "Alerts" }).getByText("memory").first().waitFor();
  await picture("alerts");
  await page.getByRole("button", { name: "New session" }).click();
  await page.getByRole("textbox", { name: "Id" }).fill("front desk!");
  await page.getByRole("button", { name: "Create" }).click();
  await page.locator(".toast.bad", { hasText: "a session id is" }).waitFor();
  await page.getByRole("button", { name: "New session" }).click();
  await page.getByRole("textbox", { name: "Id" }).fill("front-desk");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByAltText("QR code to scan with the phone").waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.locator(".toast", { hasText: "front-desk is deleted" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();

  // The browser itself reports answers of 4xx that the page expects: a bad id, a code that is no longer good.
  const unexpected = problems.filter((text) => !/status of 4\d\d/.test(text));
  assert.deepEqual(unexpected, []);
  await browser.close();
});
