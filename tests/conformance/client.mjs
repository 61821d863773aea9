// The `openai` client that OPENAI_PACKAGE names (`openai` without it), unmodified, for the tests that drive it.
// FINETUNED_URLS, separated by blanks, are asked by turns. What is asked and answered goes to the file EXCHANGES, where it
// is given, a JSON line each, for validate.mjs.
import fs from "node:fs";

globalThis.File ??= (await import("node:buffer")).File; // Debian 12's Node.js 18 has it, but not as a global

const openai = await import(process.env.OPENAI_PACKAGE ?? "openai");
export const { AuthenticationError, BadRequestError, InvalidWebhookSignatureError, NotFoundError } = openai;

const { FINETUNED_URL, FINETUNED_API_KEY, EXCHANGES } = process.env;
const urls = (process.env.FINETUNED_URLS ?? FINETUNED_URL ?? "").split(" ");
let turn = 0;

async function keep(request, answer, signal) {
  const type = answer.headers.get("content-type") ?? "";
  const headers = [...answer.headers.keys()];
  const body = /json|event-stream/.test(type) ? await answer.text().catch(() => undefined) : null;
  if (body !== undefined && !signal?.aborted) // else it is a stream that was broken off
    fs.appendFileSync(EXCHANGES, JSON.stringify({ ...request, status: answer.status, type, headers, body }) + "\n");
}

/** `fetch`, by turns from each gateway. */
export async function exchange(url, options) {
  const asked = new URL(url);
  const gateway = new URL(urls[turn++ % urls.length]);
  asked.protocol = gateway.protocol;
  asked.host = gateway.host;
  const answer = await fetch(asked, options);
  const method = (options?.method ?? "get").toLowerCase();
  const sent = typeof options?.body === "string" ? options.body : null; // a form is none
  if (EXCHANGES) void keep({ method, path: asked.pathname, query: asked.search, sent }, answer.clone(), options?.signal);
  return answer;
}

/** A client of the platform. */
export function connect(options = {}) {
  return new openai.OpenAI({ baseURL: `${urls[0]}/v1`, apiKey: FINETUNED_API_KEY, timeout: 60_000, fetch: exchange, ...options });
}

/** Skips a test of what this release of the client has not got. */
export function lacks(resource) {
  return resource === undefined && `this release of the client (${process.env.OPENAI_PACKAGE ?? "openai"}) does not have it`;
}
