// validate.mjs SPECIFICATION EXCHANGES...: holds every answer in the files (client.mjs writes them) against OpenAI's own
// specification. Prints `ok -` or `not ok -` for each of its operations.
import Ajv2020 from "ajv/dist/2020.js";
import fs from "node:fs";
import { OpenAPIBackend } from "openapi-backend";

const MOST_SHOWN = 5;
const NOT_SERVED = [
  /^GET \/chat\/completions$/, // chats are not kept, so that there is no list of them
];

/** In the words of OpenAPI 3.1 what the specification still says in those of 3.0: `nullable`, exclusive bounds as flags. */
function modern(node) {
  if (Array.isArray(node)) return node.map(modern);
  if (node === null || typeof node !== "object") return node;
  const { nullable, ...kept } = node;
  if (kept.exclusiveMinimum === true) {
    kept.exclusiveMinimum = kept.minimum;
    delete kept.minimum;
  }
  const said = Object.fromEntries(Object.entries(kept).map(([key, value]) => [key, modern(value)]));
  return nullable === true ? { anyOf: [said, { type: "null" }] } : said;
}

// What OpenAI's log has no name for: docs/administration.md.
const OUR_AUDIT_EVENTS = ["credit.created", "quota.updated", "spend_alert.created", "spend_alert.updated", "spend_alert.deleted",
  "spend_limit.updated", "spend_limit.deleted", "webhook_endpoint.created", "webhook_endpoint.updated", "webhook_endpoint.deleted",
  "webhook_endpoint.secret_rotated"];

/** With what is answered on purpose beyond the specification. */
function widened(definition) {
  const { schemas } = definition.components;
  schemas.FineTuningJob.properties.status.enum.push("paused"); // OpenAI's own example has it: docs/api.md
  schemas.AuditLogEventType.enum.push(...OUR_AUDIT_EVENTS);
  const one = schemas.GraderMulti.properties.graders; // OpenAI's own guide gives them by name
  schemas.GraderMulti.properties.graders = { anyOf: [one, { type: "object", additionalProperties: one }] };
  return definition;
}

const [specification, ...files] = process.argv.slice(2);
const ajvOpts = { strict: false, allErrors: true, formats: { unixtime: true, date: true, int64: true, binary: true, uri: true } };
const api = new OpenAPIBackend({
  definition: widened(modern(JSON.parse(fs.readFileSync(specification)))),
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
  } else if (body === null) {
    faults = []; // a file's bytes
    known.count++;
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
  if (NOT_SERVED.some((one) => one.test(name))) continue;
  if (count > 0 && faults.size === 0) {
    console.log(`ok - ${name}: ${count} answers as specified`);
    continue;
  }
  failed++;
  console.log(`not ok - ${name}: ${count === 0 ? "never answered with success" : [...faults].slice(0, MOST_SHOWN).join("; ")}`);
}
process.exit(failed ? 1 : 0);
