// The official `openai` client, unmodified, goes the whole way: upload, create, poll, events, checkpoints, download.
// Needs FINETUNED_URL, FINETUNED_API_KEY, MODEL and DATASET in the environment.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError } from "openai";

globalThis.File ??= (await import("node:buffer")).File; // Debian 12's Node.js 18 has it, but not as a global

const { FINETUNED_URL, FINETUNED_API_KEY, MODEL, DATASET } = process.env;
const client = new OpenAI({ baseURL: `${FINETUNED_URL}/v1`, apiKey: FINETUNED_API_KEY, timeout: 60_000 });

async function until(ask, done, seconds = 180) {
  const deadline = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await ask();
    if (done(answer)) return answer;
    assert.ok(Date.now() < deadline, `after ${seconds} s still ${JSON.stringify(answer)}`);
    await pause(200);
  }
}

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
let file, job;

test("a dataset is uploaded and processed", async () => {
  file = await client.files.create({ file: fs.createReadStream(DATASET), purpose: "fine-tune" });
  assert.match(file.id, /^file-/);
  assert.equal(file.object, "file");
  assert.equal(file.bytes, fs.statSync(DATASET).size);
  file = await until(() => client.files.retrieve(file.id), (f) => f.status !== "uploaded");
  assert.equal(file.status, "processed");
  const content = await client.files.content(file.id);
  assert.equal(await content.text(), fs.readFileSync(DATASET, "utf8"));
  assert.ok((await all(client.files.list())).some((f) => f.id === file.id));
});

test("a dataset is uploaded in parts, and its file expires", async () => {
  const bytes = fs.readFileSync(DATASET);
  const cut = Math.floor(bytes.length / 3);
  const upload = await client.uploads.create({
    bytes: bytes.length,
    filename: "parts.jsonl",
    mime_type: "text/jsonl",
    purpose: "fine-tune",
    expires_after: { anchor: "created_at", seconds: 3600 },
  });
  assert.equal(upload.status, "pending");
  assert.equal(upload.file, null);
  const parts = await Promise.all([bytes.subarray(0, cut), bytes.subarray(cut)].map((data) =>
    client.uploads.parts.create(upload.id, { data: new File([data], "part") })));
  assert.ok(parts.every((p) => p.object === "upload.part" && p.upload_id === upload.id));
  const done = await client.uploads.complete(upload.id, {
    part_ids: parts.map((p) => p.id),
    md5: createHash("md5").update(bytes).digest("hex"),
  });
  assert.equal(done.status, "completed");
  assert.equal(done.file.expires_at - done.file.created_at, 3600);
  const checked = await until(() => client.files.retrieve(done.file.id), (f) => f.status !== "uploaded");
  assert.equal(checked.status, "processed");
  await client.files.delete(checked.id);
  const other = await client.uploads.create({ bytes: 1, filename: "a", mime_type: "text/jsonl", purpose: "fine-tune" });
  assert.equal((await client.uploads.cancel(other.id)).status, "cancelled");
  await assert.rejects(client.uploads.complete(other.id, { part_ids: parts.map((p) => p.id) }), BadRequestError);
});

test("a base model is listed", async () => {
  const models = await all(client.models.list());
  assert.ok(models.some((m) => m.id === MODEL && m.object === "model"));
  assert.equal((await client.models.retrieve(MODEL)).id, MODEL);
});

test("a job is created and succeeds", async () => {
  job = await client.fineTuning.jobs.create({
    model: MODEL,
    training_file: file.id,
    validation_file: file.id,
    suffix: "client",
    seed: 7,
    metadata: { team: "blue" },
    method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: 4 } } },
  });
  assert.match(job.id, /^ftjob-/);
  assert.equal(job.object, "fine_tuning.job");
  assert.equal(job.seed, 7);
  assert.deepEqual(job.metadata, { team: "blue" });
  assert.ok(["validating_files", "queued", "running"].includes(job.status), job.status);
  job = await until(() => client.fineTuning.jobs.retrieve(job.id), (j) => ["succeeded", "failed", "cancelled"].includes(j.status));
  assert.equal(job.status, "succeeded", JSON.stringify(job.error));
  assert.match(job.fine_tuned_model, new RegExp(`^ft:${MODEL}:[^:]+:client:`));
  assert.ok(job.trained_tokens > 0);
  assert.equal(job.result_files.length, 4);
  assert.ok((await all(client.fineTuning.jobs.list())).some((j) => j.id === job.id));
});

test("its events and checkpoints are listed", async () => {
  const events = await all(client.fineTuning.jobs.listEvents(job.id, { limit: 3 }));
  assert.ok(events.length > 3, "more events than a page");
  assert.equal(new Set(events.map((e) => e.id)).size, events.length, "each event once");
  const metrics = events.filter((e) => e.type === "metrics");
  assert.ok(metrics.every((e) => Number.isFinite(e.data.train_loss) && e.data.step >= 1));
  const checkpoints = await all(client.fineTuning.jobs.checkpoints.list(job.id));
  assert.ok(checkpoints.length >= 2, "one an epoch at least");
  assert.ok(checkpoints.every((c) => c.fine_tuning_job_id === job.id && c.step_number >= 1));
});

test("the adapter is downloaded and is what the manifest says", async () => {
  const byName = new Map();
  for (const id of job.result_files) {
    const info = await client.files.retrieve(id);
    assert.equal(info.purpose, "fine-tune-results");
    byName.set(info.filename, Buffer.from(await (await client.files.content(id)).arrayBuffer()));
    assert.equal(byName.get(info.filename).length, info.bytes);
  }
  const names = ["adapter_config.json", "adapter_model.safetensors", "manifest.json", "step_metrics.csv"];
  assert.deepEqual([...byName.keys()].sort(), names);
  const manifest = byName.get("manifest.json").toString();
  assert.ok(manifest.includes(sha256(byName.get("adapter_model.safetensors"))), "the adapter's hash is in the manifest");
  assert.ok(manifest.includes(sha256(byName.get("adapter_config.json"))), "its config's hash, too");
  assert.equal(JSON.parse(byName.get("adapter_config.json")).peft_type, "LORA");
});

test("the tuned model is listed and can be deleted", async () => {
  assert.equal((await client.models.retrieve(job.fine_tuned_model)).id, job.fine_tuned_model);
  const gone = await client.models.delete(job.fine_tuned_model);
  assert.equal(gone.deleted, true);
  await assert.rejects(client.models.retrieve(job.fine_tuned_model), NotFoundError);
});

test("the balance has paid for the trained tokens", async () => {
  const balances = await client.get("/billing/balances");
  const usd = balances.data.find((b) => b.ledger === "USD_NANO");
  assert.equal(BigInt(usd.spent), BigInt(job.trained_tokens) * 1000n);
  assert.equal(usd.held, "0");
});

test("a job can be cancelled", async () => {
  const other = await client.fineTuning.jobs.create({
    model: MODEL,
    training_file: file.id,
    method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 50, batch_size: 1 } } },
  });
  await client.fineTuning.jobs.cancel(other.id);
  const ended = await until(() => client.fineTuning.jobs.retrieve(other.id), (j) => ["succeeded", "failed", "cancelled"].includes(j.status), 60);
  assert.equal(ended.status, "cancelled");
});

test("graders are validated and run", async () => {
  const graders = client.fineTuning.alpha.graders;
  const exact = { type: "string_check", name: "exact", operation: "ilike", input: "{{ sample.output_text }}", reference: "{{ item.city }}" };
  const near = { type: "text_similarity", name: "near", evaluation_metric: "rouge_l", input: "{{ sample.output_text }}", reference: "{{ item.sentence }}" };
  const grader = { type: "multi", name: "both", graders: { exact, near }, calculate_output: "0.5 * exact + 0.5 * near" };
  assert.deepEqual((await graders.validate({ grader })).grader, grader);
  const item = { city: "Paris", sentence: "It is Paris." };
  const both = await graders.run({ grader, item, model_sample: "It is paris, I think." });
  assert.equal(both.reward, 0.875);
  assert.deepEqual(both.sub_rewards, { exact: 1, near: 0.75 });
  assert.equal(both.metadata.errors.other_error, false);
  const alone = await graders.run({ grader: exact, item: {}, model_sample: "Paris" });
  assert.equal(alone.reward, 0);
  assert.equal(alone.metadata.errors.invalid_variable_error, true);
  await assert.rejects(graders.validate({ grader: { type: "python", name: "code", source: "def grade(sample, item): return 1" } }),
    (error) => error instanceof BadRequestError && error.code === "unsupported_grader" && error.param === "grader.type");
});

test("refusals are the client's own error classes", async () => {
  const stranger = new OpenAI({ baseURL: `${FINETUNED_URL}/v1`, apiKey: "sk-ft-wrong", maxRetries: 0 });
  await assert.rejects(stranger.files.list().then(all), AuthenticationError);
  await assert.rejects(client.files.retrieve("file-000000000000000000000000"), NotFoundError);
});
