// The official `openai` client, unmodified, goes the whole way: upload, create, poll, events, checkpoints, download, try.
// Needs FINETUNED_URL, FINETUNED_API_KEY, FINETUNED_ADMIN_KEY, MODEL and DATASET in the environment.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { AuthenticationError, BadRequestError, NotFoundError, connect, lacks } from "./client.mjs";

const { FINETUNED_URL, FINETUNED_API_KEY, FINETUNED_ADMIN_KEY, MODEL, DATASET } = process.env;
const client = connect();

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
    integrations: [{ type: "wandb", wandb: { project: "claims", tags: ["first"] } }],
    method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2, batch_size: 4 } } },
  });
  assert.match(job.id, /^ftjob-/);
  assert.equal(job.object, "fine_tuning.job");
  assert.equal(job.seed, 7);
  assert.deepEqual(job.metadata, { team: "blue" });
  assert.deepEqual(job.integrations, [{ type: "wandb", wandb: { project: "claims", name: null, entity: null, tags: ["first"] } }]);
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

const greeting = [{ role: "user", content: "w1 w2 w3" }];
const greedy = { messages: greeting, temperature: 0, seed: 7, max_tokens: 12 };
let requests = 0;
const chat = (body) => (requests += 1, client.chat.completions.create(body));
const complete = (body) => (requests += 1, client.completions.create(body));

function checkUsage(usage, most) {
  assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0 && usage.completion_tokens <= most, JSON.stringify(usage));
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
}

test("the base, the tuned model and its checkpoints chat", async () => {
  const [checkpoint] = await all(client.fineTuning.jobs.checkpoints.list(job.id));
  for (const model of [MODEL, job.fine_tuned_model, checkpoint.fine_tuned_model_checkpoint]) {
    const answer = await chat({ ...greedy, model });
    assert.match(answer.id, /^chatcmpl-/);
    assert.equal(answer.object, "chat.completion");
    assert.equal(answer.model, model);
    assert.match(answer.system_fingerprint, /^fp_[0-9a-f]{16}$/);
    const [choice] = answer.choices;
    assert.equal(choice.message.role, "assistant");
    assert.equal(typeof choice.message.content, "string");
    assert.equal(choice.message.refusal, null);
    assert.equal(choice.logprobs, null);
    assert.ok(["stop", "length"].includes(choice.finish_reason));
    checkUsage(answer.usage, 12);
    assert.deepEqual((await chat({ ...greedy, model })).choices, answer.choices, "temperature 0 repeats itself");
  }
});

test("a streamed chat is the same answer", async () => {
  const model = job.fine_tuned_model;
  const whole = await chat({ ...greedy, model });
  const stream = await chat({ ...greedy, model, stream: true, stream_options: { include_usage: true } });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.ok(chunks.every((c) => c.object === "chat.completion.chunk" && c.id === chunks[0].id && c.model === model));
  assert.deepEqual(chunks[0].choices[0].delta, { role: "assistant", content: "", refusal: null });
  const deltas = chunks.flatMap((c) => c.choices);
  assert.equal(deltas.map((c) => c.delta.content ?? "").join(""), whole.choices[0].message.content);
  assert.deepEqual(deltas.map((c) => c.finish_reason).filter(Boolean), [whole.choices[0].finish_reason]);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.deepEqual(chunks.at(-1).usage, whole.usage);
  assert.ok(chunks.slice(0, -1).every((c) => c.usage === null));
  const runner = client.chat.completions.stream({ ...greedy, model });
  requests += 1;
  assert.equal(await runner.finalContent(), whole.choices[0].message.content);
});

test("chats have choices, log-probabilities and stops", async () => {
  const many = await chat({ model: MODEL, messages: greeting, n: 3, seed: 1, max_completion_tokens: 5, logprobs: true, top_logprobs: 2 });
  assert.deepEqual(many.choices.map((c) => c.index), [0, 1, 2]);
  for (const { logprobs } of many.choices) {
    assert.equal(logprobs.refusal, null);
    for (const token of logprobs.content) {
      assert.ok(token.logprob <= 0 && Array.isArray(token.bytes) && typeof token.token === "string");
      assert.equal(token.top_logprobs.length, 2);
      assert.ok(token.top_logprobs[0].logprob >= token.top_logprobs[1].logprob);
    }
  }
  // An untrained model's text is mostly broken characters: one with a whole one behind its first is looked for.
  let asked, text, at;
  for (let seed = 0; !(at > 0) && seed < 100; seed++) {
    asked = { model: MODEL, prompt: "w1 w2", temperature: 1, seed, max_tokens: 12 };
    text = (await complete(asked)).choices[0].text;
    at = [...text].findIndex((character, i) => i > 0 && character !== "\uFFFD");
  }
  assert.ok(at > 0, `a text to stop in: ${JSON.stringify(text)}`);
  const stop = [...text][at];
  const stopped = await complete({ ...asked, stop: [stop] });
  assert.equal(stopped.choices[0].text, text.slice(0, text.indexOf(stop)));
  assert.equal(stopped.choices[0].finish_reason, "stop");
});

test("prompts are completed", async () => {
  const answer = await complete({ model: MODEL, prompt: ["w1", "w2"], n: 2, max_tokens: 4, seed: 3 });
  assert.match(answer.id, /^cmpl-/);
  assert.equal(answer.object, "text_completion");
  assert.deepEqual(answer.choices.map((c) => c.index), [0, 1, 2, 3]);
  assert.ok(answer.choices.every((c) => c.logprobs === null));
  checkUsage(answer.usage, 16);
  const scored = await complete({ model: MODEL, prompt: "w1", max_tokens: 4, temperature: 0, logprobs: 2 });
  const { tokens, token_logprobs, top_logprobs, text_offset } = scored.choices[0].logprobs;
  assert.ok(tokens.length > 0 && token_logprobs.every((l) => l <= 0) && text_offset[0] === 0);
  assert.ok(tokens.length === token_logprobs.length && tokens.length === top_logprobs.length && tokens.length === text_offset.length);
  assert.ok(tokens.every((token, i) => token in top_logprobs[i]));
  const echoed = await complete({ model: MODEL, prompt: "w1", max_tokens: 4, temperature: 0, echo: true });
  assert.equal(echoed.choices[0].text, "w1" + scored.choices[0].text);
  assert.equal((await complete({ model: MODEL, prompt: [[1, 2], [3]], max_tokens: 1 })).choices.length, 2);
  let streamed = "";
  const stream = await complete({ model: MODEL, prompt: "w1", max_tokens: 4, temperature: 0, stream: true });
  for await (const chunk of stream) streamed += chunk.choices[0].text;
  assert.equal(streamed, scored.choices[0].text);
});

test("a chat that a client breaks off, and what cannot be answered", async () => {
  const stream = await chat({ model: MODEL, messages: greeting, stream: true, max_tokens: 40 });
  for await (const chunk of stream) if (chunk.choices.length > 0) break;
  await assert.rejects(client.chat.completions.create({ ...greedy, model: "none" }), NotFoundError);
  await assert.rejects(client.chat.completions.create({ ...greedy, model: MODEL, response_format: { type: "json_object" } }), BadRequestError);
  const long = [{ role: "user", content: "w1 ".repeat(5000) }];
  await assert.rejects(client.chat.completions.create({ ...greedy, model: MODEL, messages: long }), BadRequestError);
});

test("administrators read what the answers took", async () => {
  const { organization } = connect({ adminAPIKey: FINETUNED_ADMIN_KEY }).admin;
  const read = () => organization.usage.completions({ start_time: Math.floor(Date.now() / 1000) - 3600, group_by: ["model"] });
  const sums = (page) => page.data.flatMap((bucket) => bucket.results);
  const page = await until(read, (p) => sums(p).reduce((n, r) => n + r.num_model_requests, 0) >= requests, 10);
  assert.equal(page.object, "page");
  const own = sums(page).filter((r) => r.model === job.fine_tuned_model);
  assert.equal(own.length, 1);
  assert.ok(own[0].input_tokens > 0 && own[0].output_tokens > 0);
  assert.equal(own[0].project_id, null);
});

test("a project may be permitted to use another's model", async () => {
  const admin = connect({ apiKey: FINETUNED_ADMIN_KEY });
  const other = await admin.post("/organization/projects", { body: { name: `guest ${job.id}` } });
  const at = `/fine_tuning/checkpoints/${encodeURIComponent(job.fine_tuned_model)}/permissions`;
  const [permission] = (await admin.post(at, { body: { project_ids: [other.id] } })).data;
  assert.equal(permission.project_id, other.id);
  assert.equal((await admin.get(at)).data.length, 1);
  assert.equal((await admin.delete(`${at}/${permission.id}`)).deleted, true);
});

test("the tuned model is listed and can be deleted", async () => {
  assert.equal((await client.models.retrieve(job.fine_tuned_model)).id, job.fine_tuned_model);
  const gone = await client.models.delete(job.fine_tuned_model);
  assert.equal(gone.deleted, true);
  await assert.rejects(client.models.retrieve(job.fine_tuned_model), NotFoundError);
});

test("the balance has paid for the trained tokens and the answered ones", async () => {
  const dollars = async () => (await client.get("/billing/balances")).data.find((b) => b.ledger === "USD_NANO");
  const usd = await until(dollars, (balance) => balance.held === "0", 60);
  const query = { start_time: Math.floor(Date.now() / 1000) - 86400, bucket_width: "1d" };
  const { data } = await connect({ apiKey: FINETUNED_ADMIN_KEY }).get("/organization/usage/completions", { query });
  const answered = data.flatMap((bucket) => bucket.results).reduce((sum, result) => sum + result.input_tokens + result.output_tokens, 0);
  assert.ok(answered > 0);
  assert.equal(BigInt(usd.spent), BigInt(job.trained_tokens + answered) * 1000n);
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

test("a job is paused and resumed where it stood", { skip: lacks(client.fineTuning.jobs.pause) }, async () => {
  const { id } = await client.fineTuning.jobs.create({
    model: MODEL,
    training_file: file.id,
    method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 50, batch_size: 1 } } },
  });
  const events = () => all(client.fineTuning.jobs.listEvents(id, { limit: 100 }));
  await until(events, (told) => told.some((e) => e.type === "metrics"));
  assert.ok(["running", "paused"].includes((await client.fineTuning.jobs.pause(id)).status));
  await until(() => client.fineTuning.jobs.retrieve(id), (j) => j.status === "paused", 60);
  assert.equal((await client.fineTuning.jobs.pause(id)).status, "paused");
  const at = (await events())[0].message.match(/^The job is paused after step (\d+)$/);
  assert.ok(at && Number(at[1]) >= 1);
  assert.ok(["queued", "running"].includes((await client.fineTuning.jobs.resume(id)).status));
  const ended = await until(() => client.fineTuning.jobs.retrieve(id), (j) => ["succeeded", "failed", "cancelled"].includes(j.status));
  assert.equal(ended.status, "succeeded", JSON.stringify(ended.error));
  const told = (await events()).reverse();
  assert.ok(told.some((e) => e.message === `The run goes on after step ${at[1]}`));
  const steps = told.filter((e) => e.type === "metrics").map((e) => e.data.step);
  assert.deepEqual(steps, steps.map((_, i) => i + 1), "each step once, in order");
  for (const what of ["pause", "resume"])
    await assert.rejects(client.fineTuning.jobs[what](id), (e) => e instanceof BadRequestError && e.code === "job_already_ended");
});

test("refusals are the client's own error classes", async () => {
  const stranger = connect({ apiKey: "sk-ft-wrong", maxRetries: 0 });
  await assert.rejects(stranger.files.list().then(all), AuthenticationError);
  await assert.rejects(client.files.retrieve("file-000000000000000000000000"), NotFoundError);
});
