// What the platform has beyond OpenAI's API, and what that API says of the rest: every route that openai_client.mjs and
// openai_admin.mjs do not ask. Needs FINETUNED_URL, FINETUNED_API_KEY, FINETUNED_ADMIN_KEY, MODEL and DATASET in the environment.
import assert from "node:assert/strict";
import fs from "node:fs";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { BadRequestError, NotFoundError, connect, exchange } from "./client.mjs";

const { FINETUNED_URL, FINETUNED_API_KEY, FINETUNED_ADMIN_KEY, MODEL, DATASET } = process.env;
const client = connect();
const admin = connect({ apiKey: FINETUNED_ADMIN_KEY });
const withKey = { authorization: `Bearer ${FINETUNED_API_KEY}` };

async function until(ask, done, seconds = 120) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await ask();
    if (done(answer)) return answer;
    assert.ok(Date.now() < deadline, `after ${seconds} s still ${JSON.stringify(answer)}`);
    await pause(200);
  }
}

let file, job;

test("a dataset's report tells its faults, rows and tokens", async () => {
  file = await client.files.create({ file: fs.createReadStream(DATASET), purpose: "fine-tune" });
  const report = await until(() => client.get(`/files/${file.id}/report`), (r) => r.status !== "uploaded");
  assert.equal(report.ok, true);
  assert.ok(report.rows > 0 && report.tokens[MODEL].tokens >= report.tokens[MODEL].supervised_tokens);
  const bad = await client.files.create({ file: new File(["{}\n"], "bad.jsonl"), purpose: "fine-tune" });
  const refused = await until(() => client.get(`/files/${bad.id}/report`), (r) => r.status !== "uploaded");
  assert.equal(refused.faults[0].line, 1);
  assert.match((await client.files.retrieve(bad.id)).status_details, /^line 1: /);
  await client.files.delete(bad.id);
});

test("a file is read in part, and by a URL without a key", async () => {
  const bytes = fs.readFileSync(DATASET);
  const { url } = await client.post(`/files/${file.id}/download_url`, { body: { expires_in: 60 } });
  for (const [content, headers] of [[`${FINETUNED_URL}/v1/files/${file.id}/content`, withKey], [url, {}]]) {
    const whole = await exchange(content, { headers });
    assert.deepEqual(Buffer.from(await whole.arrayBuffer()), bytes);
    const etag = whole.headers.get("etag");
    assert.equal((await exchange(content, { headers: { ...headers, "if-none-match": etag } })).status, 304);
    const part = await exchange(content, { headers: { ...headers, range: "bytes=2-5" } });
    assert.equal(part.status, 206);
    assert.equal(await part.text(), bytes.subarray(2, 6).toString());
    assert.equal((await exchange(content, { headers: { ...headers, range: "bytes=99999999-" } })).status, 416);
  }
  assert.equal((await exchange(url.slice(0, -1) + "x")).status, 403);
});

test("a job costs what it was quoted, and is watched to its end", async () => {
  const body = { model: MODEL, training_file: file.id, hyperparameters: { n_epochs: 1, batch_size: 8 } };
  const quote = await client.post("/fine_tuning/jobs/quote", { body });
  assert.equal(quote.ready, true);
  job = await client.post("/fine_tuning/jobs", { body });
  const stream = await (await exchange(`${FINETUNED_URL}/v1/fine_tuning/jobs/${job.id}/stream`, { headers: withKey })).text();
  assert.ok(stream.trimEnd().endsWith("data: [DONE]"));
  job = await client.get(`/fine_tuning/jobs/${job.id}`);
  assert.equal(job.status, "succeeded", JSON.stringify(job.error));
  assert.equal(job.trained_tokens, quote.tokens);
  const { data } = await client.get("/billing/transfers", { query: { limit: 100 } });
  const charge = data.find((one) => one.job_id === job.id && one.kind === "post");
  assert.equal(charge.amount, quote.amount);
});

test("a job's statement and the month's add up to its charge", async () => {
  const at = `/fine_tuning/jobs/${job.id}/statement`;
  const bill = await client.get(at);
  assert.equal(bill.final, true);
  assert.equal(bill.trained_tokens, job.trained_tokens);
  assert.equal(bill.data.reduce((sum, row) => sum + BigInt(row.amount), 0n), BigInt(bill.amount));
  assert.equal(bill.data.at(-1).trained_tokens, job.trained_tokens);
  const month = new Date(job.finished_at * 1000).toISOString().slice(0, 7);
  const account = await client.get("/billing/statement", { query: { month } });
  const line = account.data.find((one) => one.job_id === job.id);
  assert.equal(BigInt(line.amount) < 0n ? -BigInt(line.amount) : BigInt(line.amount), BigInt(bill.amount));
  for (const path of [`${at}?format=csv`, `/billing/statement?format=csv&month=${month}`]) {
    const csv = await exchange(`${FINETUNED_URL}/v1${path}`, { headers: withKey });
    assert.ok((await csv.text()).split("\n").length > 2);
  }
});

test("a job that waits says where it stands and why", async () => {
  const body = { model: MODEL, training_file: file.id, hyperparameters: { n_epochs: 20, batch_size: 1 } };
  const ahead = await client.post("/fine_tuning/jobs", { body });
  const waits = await client.post("/fine_tuning/jobs", { body: { ...body, priority: -1 } });
  const told = await client.get(`/fine_tuning/jobs/${waits.id}`);
  assert.equal(told.status, "queued");
  assert.ok(told.queue.position >= 0 && told.queue.message);
  assert.equal(told.queue.priority, -1);
  for (const one of [waits, ahead]) await client.post(`/fine_tuning/jobs/${one.id}/cancel`);
});

test("a model is exported", async () => {
  const at = `/models/${encodeURIComponent(job.fine_tuned_model)}`;
  const made = await client.post(`${at}/export`, { body: { format: "peft" } });
  const done = await until(() => client.get(`${at}/exports/${made.id}`), (one) => ["done", "failed"].includes(one.status));
  assert.equal(done.status, "done", JSON.stringify(done.error));
  assert.equal((await client.post(`${at}/export`, { body: { format: "peft" } })).file_id, done.file_id);
  assert.deepEqual((await client.get(`${at}/exports`)).data, [done]);
  await assert.rejects(client.post(`${at}/export`, { body: { format: "gguf" } }), BadRequestError);
});

test("a better recipe wins a challenge, and its points pay for a job", async () => {
  const projects = (await admin.get("/organization/projects", { query: { limit: 100 } })).data;
  const project = projects.find((one) => one.name === "default");
  const slow = { n_epochs: 1, batch_size: 8, learning_rate: 0.000001 }, fast = { ...slow, learning_rate: 0.02 };
  const challenge = await admin.post("/organization/challenges", { body: {
    project_id: project.id, name: "one pass", model: MODEL, training_file: file.id, validation_file: file.id,
    token_budget: 100000, reward: "5000000", target: 0, baseline: slow } });
  assert.equal((await admin.get("/organization/challenges")).data[0].id, challenge.id);
  assert.equal((await client.get("/challenges")).data[0].id, challenge.id);
  const at = `/challenges/${challenge.id}`;
  assert.equal((await client.get(at)).incumbent.recipe.learning_rate, slow.learning_rate);
  const { id } = await client.post(`${at}/contributions`, { body: { recipe: fast, note: "faster" } });
  const won = await until(() => client.get(`${at}/contributions/${id}`), (one) => one.decided_at !== null);
  assert.equal(won.status, "won", won.reason);
  assert.deepEqual((await client.get(`${at}/contributions`)).data, [won]);
  const [entry] = (await client.get(`${at}/leaderboard`)).data;
  assert.equal(entry.id, id);
  assert.equal(entry.runs.length, 6);
  const [dollars, points] = (await client.get("/billing/balances")).data;
  assert.equal(points.pending, won.pending);
  const body = { model: MODEL, training_file: file.id, hyperparameters: { n_epochs: 1, batch_size: 8 }, payment: "points" };
  const quote = await client.post("/fine_tuning/jobs/quote", { body });
  assert.equal(quote.allowed, true);
  const paid = await client.post("/fine_tuning/jobs", { body });
  await until(() => client.get(`/fine_tuning/jobs/${paid.id}`), (one) => one.status === "succeeded");
  const after = (await client.get("/billing/balances")).data;
  assert.equal(after[0].spent, dollars.spent);
  assert.equal(after[1].spent, quote.amount_in_points);
  const transfers = await client.get("/billing/transfers", { query: { ledger: "POINTS_MICRO" } });
  assert.equal(transfers.data[0].amount, quote.amount_in_points);
  const confirm = () => admin.post(`/organization${at}/contributions/${id}/confirm`);
  assert.equal((await confirm()).id, id);
  const confirmed = await until(() => client.get(`${at}/contributions/${id}`), (one) => one.pending === "0");
  assert.equal(confirmed.vested, confirmed.award);
  await assert.rejects(confirm(), (error) => error.code === "nothing_to_confirm");
  assert.equal((await admin.post(`/organization${at}/close`)).status, "closed");
});

test("webhook endpoints are kept, changed, tried and removed", async () => {
  const made = await client.post("/webhook_endpoints", { body: { url: "https://localhost:1/hook" } });
  const at = `/webhook_endpoints/${made.id}`;
  const { secret, ...shown } = made;
  assert.match(secret, /^whsec_/);
  assert.deepEqual(await client.get(at), shown);
  assert.equal((await client.post(at, { body: { description: "ours" } })).description, "ours");
  assert.equal((await client.get("/webhook_endpoints")).data.length, 1);
  assert.notEqual((await client.post(`${at}/rotate_secret`)).secret, secret);
  const delivery = await client.post(`${at}/test`);
  assert.equal(delivery.type, "webhook_endpoint.test");
  assert.equal((await client.get(`${at}/deliveries`)).data[0].id, delivery.id);
  assert.equal((await client.delete(at)).deleted, true);
  await assert.rejects(client.get(at), NotFoundError);
});

test("a stream of completions ends with what it took", async () => {
  const asked = { model: MODEL, prompt: "w1", max_tokens: 2, stream: true, stream_options: { include_usage: true } };
  const chunks = [];
  for await (const chunk of await client.completions.create(asked)) chunks.push(chunk);
  assert.equal(chunks.at(-1).usage.completion_tokens, 2);
});

test("administrators set what training costs, from a time on", async () => {
  const later = Math.floor(Date.now() / 1000) + 86400;
  const price = await admin.post("/organization/prices", { body: { nano_per_1k: "2000000", model: MODEL, valid_from: later } });
  assert.equal(price.set_by, "organization");
  const { data } = await admin.get("/organization/prices", { query: { limit: 1 } });
  assert.deepEqual(data, [price]);
  await assert.rejects(admin.post("/organization/prices", { body: { nano_per_1k: "1", model: MODEL } }), BadRequestError);
});

test("administrators credit projects, and set limits and quotas", async () => {
  const { id } = await admin.post("/organization/projects", { body: { name: `quotas ${Date.now()}` } });
  const at = `/organization/projects/${id}`;
  const credit = await admin.post(`${at}/credits`, { body: { amount: "5000000000", reason: "a test" } });
  assert.equal(credit.balance.available, "5000000000");
  const quotas = await admin.put(`${at}/quotas`, { body: { queued_jobs: 3, share_weight: 2 } });
  assert.equal(quotas.queued_jobs, 3);
  assert.deepEqual(await admin.get(`${at}/quotas`), quotas);
  assert.ok(quotas.limits.some((limit) => limit.name === "queued_jobs" && limit.limit === 3 && limit.used === 0));
  const owed = await admin.put(`${at}/credit_limit`, { body: { amount: "7" } });
  assert.equal(owed.amount, "7");
  assert.deepEqual(await admin.get(`${at}/credit_limit`), owed);
  const limits = { max_requests_per_1_minute: 1, max_tokens_per_1_minute: 2, max_images_per_1_minute: 3, max_audio_megabytes_per_1_minute: 4,
    max_requests_per_1_day: 5, batch_1_day_max_input_tokens: 6 };
  const limit = await admin.post(`${at}/rate_limits/rl-${MODEL}`, { body: limits });
  assert.deepEqual(limit, { ...limit, ...limits });
  assert.deepEqual((await admin.get(`${at}/rate_limits`)).data, [limit]);
});

test("the gateway tells how it is, and what it serves", async () => {
  assert.deepEqual(await (await exchange(`${FINETUNED_URL}/healthz`)).json(), { status: "ok" });
  assert.equal((await (await exchange(`${FINETUNED_URL}/readyz`)).json()).status, "ready");
  assert.match(await (await exchange(`${FINETUNED_URL}/metrics`)).text(), /^finetuned_http_requests_total\{.*route="\/readyz"/m);
  const document = await exchange(`${FINETUNED_URL}/openapi.json`);
  const again = { headers: { "if-none-match": document.headers.get("etag") } };
  for (const path of ["/openapi.json", "/v1/openapi.json"]) {
    assert.deepEqual(await (await exchange(FINETUNED_URL + path)).json(), await document.clone().json());
    assert.equal((await exchange(FINETUNED_URL + path, again)).status, 304);
  }
});
