// What a receiver got, in the hands of the official `openai` client: `client.webhooks.unwrap` takes it, and nothing altered.
// Needs REQUESTS (a file, one JSON request a line), SECRET, JOB and ENDPOINT in the environment.
import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { InvalidWebhookSignatureError, connect } from "./client.mjs";

const { REQUESTS, SECRET, JOB, ENDPOINT } = process.env;
const client = connect({ baseURL: "http://localhost", apiKey: "not used" });
const requests = fs.readFileSync(REQUESTS, "utf8").trim().split("\n").map((line) => JSON.parse(line));
const typed = (type) => requests.find((request) => JSON.parse(request.body).type === type);
const refused = (body, headers, secret = SECRET) =>
  assert.rejects(client.webhooks.unwrap(body, headers, secret), InvalidWebhookSignatureError);

test("the client unwraps the event of a cancelled job", async () => {
  const { body, headers } = typed("fine_tuning.job.cancelled");
  const event = await client.webhooks.unwrap(body, headers, SECRET);
  assert.equal(event.type, "fine_tuning.job.cancelled");
  assert.equal(event.object, "event");
  assert.equal(event.id, headers["webhook-id"]);
  assert.deepEqual(event.data, { id: JOB });
  assert.ok(Math.abs(Date.now() / 1000 - event.created_at) < 600);
});

test("the client unwraps a test event", async () => {
  const { body, headers } = typed("webhook_endpoint.test");
  const event = await client.webhooks.unwrap(body, headers, SECRET);
  assert.deepEqual(event.data, { id: ENDPOINT });
});

test("the client refuses a changed byte, anywhere in body, id, time or secret", async () => {
  const { body, headers } = typed("fine_tuning.job.cancelled");
  for (let at = 0; at < body.length; at++) {
    const altered = body.slice(0, at) + String.fromCharCode(body.charCodeAt(at) ^ 1) + body.slice(at + 1);
    await refused(altered, headers);
  }
  await refused(body, { ...headers, "webhook-id": headers["webhook-id"].slice(0, -1) + "_" });
  await refused(body, { ...headers, "webhook-timestamp": String(Number(headers["webhook-timestamp"]) + 1) });
  await refused(body, headers, `whsec_${Buffer.alloc(32).toString("base64")}`);
});
