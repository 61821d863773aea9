// The official `openai` client, unmodified, administers an organization.
// Needs FINETUNED_URL, FINETUNED_API_KEY, FINETUNED_ADMIN_KEY and MODEL in the environment, and a project key `spare` that the operator made.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthenticationError, BadRequestError, NotFoundError, connect } from "./client.mjs";

const { FINETUNED_URL, FINETUNED_API_KEY, FINETUNED_ADMIN_KEY, MODEL } = process.env;
const organization = connect({ adminAPIKey: FINETUNED_ADMIN_KEY }).admin.organization;

async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}

/** A key opens nothing from a second after its end, whichever gateway is asked. */
async function endsWithinASecond(ask) {
  const refused = () => ask().then(() => false, (error) => error instanceof AuthenticationError);
  const deadline = Date.now() + 1000;
  while (!((await refused()) && (await refused()))) assert.ok(Date.now() < deadline, "the key is still good a second later");
}

let project;

test("a project is created, renamed and listed page by page", async () => {
  project = await organization.projects.create({ name: "vision" });
  project = await organization.projects.update(project.id, { name: "speech" });
  assert.deepEqual(await organization.projects.retrieve(project.id), project);
  assert.ok((await all(organization.projects.list({ limit: 1 }))).some((one) => one.id === project.id));
});

test("an admin key works until it is deleted", async () => {
  const key = await organization.adminAPIKeys.create({ name: "ops", expires_in_seconds: 3600 });
  const own = connect({ adminAPIKey: key.value }).admin.organization;
  assert.equal((await own.adminAPIKeys.retrieve(key.id)).name, "ops");
  assert.ok((await all(own.adminAPIKeys.list({ limit: 1 }))).every((one) => !("value" in one)));
  await own.adminAPIKeys.delete(key.id);
  await endsWithinASecond(() => own.adminAPIKeys.list());
});

test("a service account's key opens its project until the account is deleted", async () => {
  const account = await organization.projects.serviceAccounts.create(project.id, { name: "ci" });
  const its = connect({ apiKey: account.api_key.value });
  assert.ok((await all(its.models.list())).some((model) => model.id === MODEL));
  const [key] = await all(organization.projects.apiKeys.list(project.id));
  assert.equal(key.owner.service_account.id, account.id);
  await assert.rejects(organization.projects.apiKeys.delete(key.id, { project_id: project.id }), BadRequestError);
  await organization.projects.serviceAccounts.delete(account.id, { project_id: project.id });
  await endsWithinASecond(() => its.models.list());
});

test("people have roles in the organization and in projects", async () => {
  for (const email of ["ada@example.org", "bob@example.org"])
    await organization.projects.users.create(project.id, { role: "member", email });
  const [ada] = await all(organization.users.list({ emails: ["ada@example.org"] }));
  assert.equal((await organization.users.update(ada.id, { role: "owner" })).role, "owner");
  assert.deepEqual((await all(organization.users.roles.list(ada.id))).map((role) => role.name), ["owner"]);
  assert.equal((await organization.users.roles.retrieve("role-owner", { user_id: ada.id })).resource_type, "api.organization");
  assert.equal((await organization.users.roles.delete("role-owner", { user_id: ada.id })).deleted, true);
  assert.equal((await organization.users.roles.create(ada.id, { role_id: "role-owner" })).user.role, "owner");
  await organization.projects.users.update(ada.id, { project_id: project.id, role: "owner" });
  assert.equal((await organization.users.retrieve(ada.id)).projects.data[0].role, "owner");
  assert.equal((await all(organization.projects.users.list(project.id, { limit: 1 }))).length, 2);
  await organization.users.delete(ada.id);
  await assert.rejects(organization.projects.users.retrieve(ada.id, { project_id: project.id }), NotFoundError);
});

test("limits and alerts are set", async () => {
  const limit = `rl-${MODEL}`;
  await organization.projects.rateLimits.updateRateLimit(limit, { project_id: project.id, max_requests_per_1_minute: 3 });
  const limits = await all(organization.projects.rateLimits.listRateLimits(project.id));
  assert.equal(limits.find((one) => one.id === limit).max_requests_per_1_minute, 3);
  const monthly = { threshold_amount: 100, currency: "USD", interval: "month" };
  if (organization.spendLimit) { // of the newest release only
    await organization.projects.spendLimit.update(project.id, monthly);
    assert.equal((await organization.projects.spendLimit.retrieve(project.id)).threshold_amount, 100);
    await assert.rejects(organization.spendLimit.retrieve(), NotFoundError);
  }
  const channel = { type: "email", recipients: ["ada@example.org"] };
  const alert = await organization.spendAlerts.create({ ...monthly, notification_channel: channel });
  assert.deepEqual(await all(organization.spendAlerts.list()), [alert]);
  await organization.spendAlerts.delete(alert.id);
});

test("what is made can be read, changed and removed one by one", async () => {
  const admin = connect({ apiKey: FINETUNED_ADMIN_KEY }); // by its generic methods
  let spared = false;
  const at = `/organization/projects/${project.id}`;
  const monthly = { threshold_amount: 100, currency: "USD", interval: "month" };
  const warning = { ...monthly, notification_channel: { type: "email", recipients: ["ada@example.org"] } };
  for (const scope of ["/organization", at]) {
    const alert = await admin.post(`${scope}/spend_alerts`, { body: warning });
    assert.equal((await admin.post(`${scope}/spend_alerts/${alert.id}`, { body: { ...warning, threshold_amount: 50 } })).threshold_amount, 50);
    assert.equal((await admin.get(`${scope}/spend_alerts/${alert.id}`)).threshold_amount, 50);
    assert.equal((await admin.get(`${scope}/spend_alerts`)).data.length, 1);
    assert.equal((await admin.delete(`${scope}/spend_alerts/${alert.id}`)).deleted, true);
    assert.equal((await admin.post(`${scope}/spend_limit`, { body: { ...monthly, threshold_amount: 1_000_000 } })).threshold_amount, 1_000_000);
    assert.equal((await admin.get(`${scope}/spend_limit`)).threshold_amount, 1_000_000);
    assert.equal((await admin.delete(`${scope}/spend_limit`)).deleted, true);
  }
  const account = await admin.post(`${at}/service_accounts`, { body: { name: "nightly" } });
  assert.equal((await admin.post(`${at}/service_accounts/${account.id}`, { body: { name: "weekly" } })).name, "weekly");
  assert.equal((await admin.get(`${at}/service_accounts/${account.id}`)).name, "weekly");
  assert.ok((await admin.get(`${at}/service_accounts`)).data.some((one) => one.id === account.id));
  const key = await admin.post(`${at}/service_accounts/${account.id}/api_keys`, { body: { name: "second" } });
  assert.match(key.value, /^sk-ft-/);
  assert.equal((await admin.get(`${at}/api_keys/${key.id}`)).name, "second");
  for (const one of await all(organization.projects.list())) {
    const spare = (await admin.get(`/organization/projects/${one.id}/api_keys`)).data.find((its) => its.name === "spare");
    if (!spare) continue;
    assert.equal((await admin.delete(`/organization/projects/${one.id}/api_keys/${spare.id}`)).deleted, true);
    await assert.rejects(admin.get(`/organization/projects/${one.id}/api_keys/${spare.id}`), NotFoundError);
    spared = true;
  }
  assert.ok(spared, "the operator's key is listed");
  const user = await admin.post(`${at}/users`, { body: { role: "member", email: "eve@example.org" } });
  assert.equal((await admin.get(`${at}/users/${user.id}`)).role, "member");
  assert.equal((await admin.delete(`${at}/users/${user.id}`)).deleted, true);
  const costs = await admin.get("/organization/costs", { query: { start_time: Math.floor(Date.now() / 1000) - 86_400 } });
  assert.ok(costs.data.length > 0);
});

test("what was done is in the audit log", async () => {
  await organization.projects.archive(project.id);
  const types = (await all(organization.auditLogs.list({ limit: 3, project_ids: [project.id] }))).map((one) => one.type);
  assert.equal(types.at(0), "project.archived");
  assert.equal(types.at(-1), "project.created");
  assert.ok(types.includes("service_account.deleted") && types.includes("rate_limit.updated"));
  const page = await organization.auditLogs.list({ event_types: ["project.archived"], effective_at: { gt: 1 } });
  assert.equal(page.data[0]["project.archived"].id, project.id);
});
