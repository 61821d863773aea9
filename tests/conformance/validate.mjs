// validate.mjs SPECIFICATION EXCHANGES...: holds every answer in the files (client.mjs writes them) against OpenAI's own
// specification. Prints `ok -` or `not ok -` for each of its operations.
import Ajv2020 from "ajv/dist/2020.js";
import fs from "node:fs";
import { OpenAPIBackend } from "openapi-backend";

const MOST_SHOWN = 5;

/** Without what the specification has from an older OpenAPI: `nullable`, which 3.1 does not know. */
function cleaned(node) {
  if (Array.isArray(node)) return node.map(cleaned);
  if (node === null || typeof node !== "object") return node;
  return Object.fromEntries(Object.entries(node).filter(([key]) => key !== "nullable").map(([key, value]) => [key, cleaned(value)]));
}

/** `paused` is what OpenAI's own example answers, and its enum lacks: docs/api.md. */
function withPaused(definition) {
  definition.components.schemas.FineTuningJob.properties.status.enum.push("paused");
  return definition;
}

const [specification, ...files] = process.argv.slice(2);
const ajvOpts = { strict: false, allErrors: true, formats: { unixtime: true } };
const api = new OpenAPIBackend({
  definition: withPaused(cleaned(JSON.parse(fs.readFileSync(specification)))),
  quick: true,
  ajvOpts,
});
await api.init();
const operations = api.router.getOperations();
const seen = new Map(operations.map((operation) => [operation.operationId, { count: 0, faults: new Set() }]));
const errorOf = (error) => `${error.instancePath || "/"} ${error.message}${error.params?.allowedValues ? ` ${JSON.stringify(error.params.allowedValues)}` : ""}`;

function faultsOfError(body) {
  const error = body?.error;
  if (typeof error?.message !== "string" || typeof error.type !== "string") return ["an error without message or type"];
  return ["param", "code"].filter((key) => error[key] !== null && typeof error[key] !== "string").map((key) => `error.${key} is neither text nor null`);
}

/** Each event of a stream as an answer of `schema`; the last one is `[DONE]`. */
function faultsOfStream(operation, text) {
  const schema = operation.responses["200"].content["text/event-stream"]?.schema;
  const events = text.split("\n\n").filter((event) => event.startsWith("data: ")).map((event) => event.slice("data: ".length));
  if (events.pop() !== "[DONE]") return ["the stream does not end with [DONE]"];
  if (!schema) return [];
  const check = new Ajv2020.default(ajvOpts).compile(schema);
  return events.flatMap((event) => (check(JSON.parse(event)) ? [] : check.errors.map(errorOf)));
}

for (const line of files.flatMap((file) => fs.readFileSync(file, "utf8").split("\n").filter(Boolean))) {
  const { method, path, status, type, body } = JSON.parse(line);
  const operation = api.router.matchOperation({ method, path: path.replace(/^\/v1/, ""), headers: {} });
  if (!operation) continue;
  const known = seen.get(operation.operationId);
  let faults;
  if (status >= 400) {
    faults = faultsOfError(JSON.parse(body));
  } else if (type.startsWith("text/event-stream")) {
    faults = faultsOfStream(operation, body);
    known.count++;
  } else {
    faults = (api.validator.validateResponse(JSON.parse(body), operation, status).errors ?? []).map(errorOf);
    known.count++;
  }
  for (const fault of faults) known.faults.add(`${status}: ${fault}`);
}

let failed = 0;
for (const operation of operations) {
  const { count, faults } = seen.get(operation.operationId);
  const name = `${operation.method.toUpperCase()} ${operation.path}`;
  if (count > 0 && faults.size === 0) {
    console.log(`ok - ${name}: ${count} answers as specified`);
    continue;
  }
  failed++;
  console.log(`not ok - ${name}: ${count === 0 ? "never answered with success" : [...faults].slice(0, MOST_SHOWN).join("; ")}`);
}
process.exit(failed ? 1 : 0);
