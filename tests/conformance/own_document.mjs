// own_document.mjs URL EXCHANGES...: the gateway's own OpenAPI document (URL/openapi.json) is valid, and tells everything of
// what was asked and answered in the files (client.mjs writes them): no parameter, field, status or header is left out, and
// each operation, and each field that may be absent, was seen. Prints `ok -` or `not ok -` for each of its operations.
import Ajv2020 from "ajv/dist/2020.js";
import fs from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";

const MOST_SHOWN = 5;
const NOT_SEEN = {
  "GET /readyz 503": "needs PostgreSQL, Redis or the storage to be away, as in tests/integration/gateway/door_test.cpp",
};
const FIELDS_NOT_SEEN = {
  "Job.pause": "needs a storage that fails, as in tests/integration/worker/storage_fault_test.cpp",
};
const OF_HTTP = new Set(["connection", "content-length", "content-type", "date", "keep-alive", "transfer-encoding"]);

const [url, ...files] = process.argv.slice(2);
const document = await (await fetch(`${url}/openapi.json`)).json();

/** The document with nothing in its objects but what it names: a client may meet more, a test may not. */
function closed(node) {
  if (Array.isArray(node)) return node.map(closed);
  if (node === null || typeof node !== "object") return node;
  const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, closed(value)]));
  if ([node.type].flat().includes("object") && node.additionalProperties === undefined) copy.additionalProperties = false;
  return copy;
}

const ajv = new Ajv2020.default({ strict: false, allErrors: true, formats: { unixtime: true, "nano-dollars": true, "micro-points": true } });
ajv.addSchema(closed(document), "document");
const pointer = (...keys) => keys.map((key) => "/" + encodeURIComponent(String(key).replaceAll("~", "~0").replaceAll("/", "~1"))).join("");
const resolved = (node) => (node?.$ref ? node.$ref.slice(2).split("/").reduce((at, key) => at[key], document) : node);

/** What `value` has that the schema at that place does not, or the other way round. */
function faultsOf(value, ...place) {
  const check = ajv.getSchema("document#" + pointer(...place));
  if (check(value)) return [];
  const worded = ({ instancePath, message, params }) => `${instancePath || "/"} ${message} ${params.additionalProperty ?? params.allowedValues ?? ""}`;
  return check.errors.map(worded);
}

const operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => {
  const wanted = Object.entries(operation.responses).filter(([status]) => /^[23]/.test(status) || status === "503" && path === "/readyz")
    .flatMap(([status, response]) => Object.keys(response.content ?? { "": null }).map((type) => `${status} ${type}`.trim()));
  const pattern = new RegExp("^" + path.replaceAll(".", "\\.").replace(/\{\w+\}/g, "[^/]+") + "$");
  return { path, method, operation, pattern, parameters: path.split("{").length - 1, wanted: new Set(wanted), count: 0, faults: new Set() };
})).sort((a, b) => a.parameters - b.parameters);

/** Calls `each` with the place of every field of the schema (`File.expires_at`), whether it may be absent, and, where there is
 *  a value to go along with, what it has there. */
function eachField(schema, place, each, values, around = []) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    if (values === undefined && around.includes(name)) return;
    return eachField(resolved(schema), name, each, values, [...around, name]);
  }
  for (const one of schema.anyOf ?? []) eachField(one, place, each, values, around);
  if (schema.items) eachField(schema.items, place, each, values?.filter(Array.isArray).flat(), around);
  const objects = values?.filter((one) => one !== null && typeof one === "object" && !Array.isArray(one));
  if (values && !objects.length) return;
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const there = objects?.filter((one) => name in one).map((one) => one[name]);
    each(`${place}.${name}`, !schema.required?.includes(name), there);
    if (!there || there.length) eachField(inner, `${place}.${name}`, each, there, around);
  }
  if (typeof schema.additionalProperties === "object")
    eachField(schema.additionalProperties, place, each, objects?.flatMap((one) => Object.entries(one).filter(([name]) => !(name in (schema.properties ?? {}))).map(([, value]) => value)), around);
}

const fieldsSeen = new Set();

function faultsOfQuery({ operation }, query) {
  const known = new Map((operation.parameters ?? []).filter((one) => one.in === "query").map((one) => [one.name, one]));
  return [...new URLSearchParams(query).keys()]
    .filter((name) => !known.has(name) && known.get(name.replace(/\[\w+\]$/, ""))?.style !== "deepObject")
    .map((name) => `the query's ${name} is not described`);
}

function faultsOfHeaders(response, names) {
  const described = Object.entries(response.headers ?? {}).map(([name, header]) => [name, resolved(header)]);
  const lacking = described.filter(([name, header]) => header.required && !names.includes(name)).map(([name]) => `the header ${name} is not there`);
  const more = names.filter((name) => !OF_HTTP.has(name) && !described.some(([known]) => known === name));
  return [...lacking, ...more.map((name) => `the header ${name} is not described`)];
}

/** The data of a stream's events; the end is text, not JSON. */
function eventsOf(text) {
  const data = text.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice("data: ".length));
  return data.map((one) => (one === "[DONE]" ? one : JSON.parse(one)));
}

function faultsOfAnswer({ path, method, operation }, { status, type, headers, body }) {
  const response = operation.responses[status];
  if (!response) return status < 500 ? ["the status is not described"] : [];
  const place = response.$ref ? response.$ref.slice(2).split("/") : ["paths", path, method, "responses", status];
  const faults = faultsOfHeaders(resolved(response), headers);
  const media = Object.keys(resolved(response).content ?? {}).find((one) => one.split(";")[0] === type.split(";")[0]);
  if (type && !media) return [...faults, `the content type ${type} is not described`];
  if (body === null) return faults;
  const values = media === "text/event-stream" ? eventsOf(body) : [JSON.parse(body)];
  if (status < 400) eachField(response.content[media].schema, "", (field, _, there) => there.length && fieldsSeen.add(field), values);
  return [...faults, ...values.flatMap((value) => faultsOf(value, ...place, "content", media, "schema"))];
}

for (const line of files.flatMap((file) => fs.readFileSync(file, "utf8").split("\n").filter(Boolean))) {
  const exchange = JSON.parse(line);
  const known = operations.find((one) => one.method === exchange.method && one.pattern.test(exchange.path));
  if (!known) continue; // an URL that is not there
  const faults = faultsOfAnswer(known, exchange);
  if (exchange.status < 400) {
    faults.push(...faultsOfQuery(known, exchange.query));
    if (exchange.sent) faults.push(...faultsOf(JSON.parse(exchange.sent), "paths", known.path, known.method, "requestBody", "content", "application/json", "schema").map((fault) => `request: ${fault}`));
    known.count++;
    const type = [...known.wanted].find((one) => one === `${exchange.status}` || one.startsWith(`${exchange.status} ${exchange.type.split(";")[0]}`));
    known.wanted.delete(type);
  }
  for (const fault of faults) known.faults.add(`${exchange.status}: ${fault}`);
}

let failed = 0;
function tell(name, faults, what) {
  if (faults.length > 0) failed++;
  console.log(faults.length > 0 ? `not ok - ${name}: ${faults.slice(0, MOST_SHOWN).join("; ")}` : `ok - ${name}: ${what}`);
}

const { valid, errors } = await new Validator().validate(structuredClone(document));
tell("our OpenAPI document", valid ? [] : [errors].flat().map((error) => error.message ?? String(error)), `valid, version ${document.openapi}`);
for (const { path, method, operation, wanted, count, faults } of operations) {
  const name = `${method.toUpperCase()} ${path}`;
  const unseen = [...wanted].filter((one) => !Object.keys(NOT_SEEN).some((known) => `${name} ${one}`.startsWith(known)));
  const absent = new Set();
  for (const { schema } of Object.values(operation.responses["200"].content))
    if (schema) eachField(schema, "", (field, optional) => optional && !fieldsSeen.has(field) && !(field in FIELDS_NOT_SEEN) && absent.add(`${field} was never there`));
  tell(`ours: ${name}`, [...faults, ...absent, ...unseen.map((one) => `never answered ${one}`)], `${count} answers as described`);
}
process.exit(failed ? 1 : 0);
