#include "services/gateway/admin_shapes.h"

#include <boost/json/array.hpp>

#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

std::string redacted(const storage::ApiKey& key) { return key.shown_prefix + "..."; }

}  // namespace

json::object admin_key_shape(const storage::ApiKey& key, const storage::Organization& organization) {
  json::object owner;
  owner["type"] = "user";
  owner["object"] = "organization.user";
  owner["id"] = organization.id;
  owner["name"] = organization.name;
  owner["created_at"] = organization.created_at;
  owner["role"] = "owner";
  json::object shape;
  shape["object"] = "organization.admin_api_key";
  shape["id"] = key.id;
  shape["name"] = key.name;
  shape["redacted_value"] = redacted(key);
  shape["created_at"] = key.created_at;
  shape["expires_at"] = or_null(key.expires_at);
  shape["last_used_at"] = or_null(key.last_used_at);
  shape["owner"] = std::move(owner);
  return shape;
}

json::object project_shape(const storage::Project& project) {
  json::object shape;
  shape["object"] = "organization.project";
  shape["id"] = project.id;
  shape["name"] = project.name;
  shape["created_at"] = project.created_at;
  shape["archived_at"] = or_null(project.archived_at);
  shape["status"] = project.archived_at ? "archived" : "active";
  shape["external_key_id"] = nullptr;
  return shape;
}

json::object project_key_shape(const storage::ApiKey& key, const std::string& access) {
  json::object owner;
  if (key.service_account) {
    json::object account;
    account["id"] = key.service_account->id;
    account["name"] = key.service_account->name;
    account["created_at"] = key.service_account->created_at;
    account["role"] = key.service_account->role;
    owner["type"] = "service_account";
    owner["service_account"] = std::move(account);
  }
  json::object shape;
  shape["object"] = "organization.project.api_key";
  shape["id"] = key.id;
  shape["name"] = key.name;
  shape["redacted_value"] = redacted(key);
  shape["created_at"] = key.created_at;
  shape["last_used_at"] = or_null(key.last_used_at);
  shape["owner_project_access"] = access;
  shape["owner"] = std::move(owner);
  return shape;
}

json::object service_account_shape(const storage::ServiceAccount& account) {
  json::object shape;
  shape["object"] = "organization.project.service_account";
  shape["id"] = account.id;
  shape["name"] = account.name;
  shape["role"] = account.role;
  shape["created_at"] = account.created_at;
  return shape;
}

json::object account_key_shape(const storage::NewKey& made) {
  json::object shape;
  shape["object"] = "organization.project.service_account.api_key";
  shape["id"] = made.key.id;
  shape["name"] = made.key.name;
  shape["created_at"] = made.key.created_at;
  shape["value"] = made.secret;
  return shape;
}

json::object user_shape(const storage::User& user) {
  json::object person;
  person["object"] = "user";
  person["id"] = user.id;
  person["email"] = user.email;
  person["name"] = or_null(user.name);
  person["picture"] = nullptr;
  person["enabled"] = nullptr;
  person["banned"] = nullptr;
  person["banned_at"] = nullptr;
  json::object shape;
  shape["object"] = "organization.user";
  shape["id"] = user.id;
  shape["name"] = or_null(user.name);
  shape["email"] = user.email;
  shape["role"] = user.role;
  shape["added_at"] = user.added_at;
  shape["created"] = user.added_at;
  shape["is_default"] = false;
  shape["user"] = std::move(person);
  shape["is_service_account"] = false;
  shape["is_scale_tier_authorized_purchaser"] = nullptr;
  shape["is_scim_managed"] = false;
  shape["api_key_last_used_at"] = nullptr;
  shape["technical_level"] = or_null(user.technical_level);
  shape["developer_persona"] = or_null(user.developer_persona);
  shape["projects"] = nullptr;
  return shape;
}

json::object project_user_shape(const storage::ProjectUser& user) {
  json::object shape;
  shape["object"] = "organization.project.user";
  shape["id"] = user.id;
  shape["name"] = or_null(user.name);
  shape["email"] = user.email;
  shape["role"] = user.role;
  shape["added_at"] = user.added_at;
  return shape;
}

json::object rate_limit_shape(const storage::RateLimit& limit) {
  json::object shape;
  shape["object"] = "project.rate_limit";
  shape["id"] = std::string(kRateLimitPrefix) + limit.model;
  shape["model"] = limit.model;
  for (std::size_t i = 0; i < storage::kRateLimitNames.size(); ++i)
    if (limit.limits[i]) shape[storage::kRateLimitNames[i]] = *limit.limits[i];
  return shape;
}

json::object spend_alert_shape(const storage::SpendAlert& alert, const std::string& object) {
  json::object channel;
  channel["type"] = "email";
  channel["recipients"] = json::array(alert.alert.recipients.begin(), alert.alert.recipients.end());
  channel["subject_prefix"] = or_null(alert.alert.subject_prefix);
  json::object shape;
  shape["object"] = object;
  shape["id"] = alert.id;
  shape["threshold_amount"] = alert.alert.threshold_cents;
  shape["currency"] = "USD";
  shape["interval"] = "month";
  shape["notification_channel"] = std::move(channel);
  return shape;
}

json::object quotas_shape(const storage::Quotas& quotas, const storage::QuotaUse& use) {
  json::object shape;
  shape["object"] = "organization.project.quotas";
  shape["queued_jobs"] = or_null(quotas.queued_jobs);
  shape["running_jobs"] = or_null(quotas.running_jobs);
  shape["storage_bytes"] = or_null(quotas.storage_bytes);
  shape["tokens_per_month"] = or_null(quotas.tokens_per_month);
  shape["upload_bytes_per_day"] = or_null(quotas.upload_bytes_per_day);
  shape["share_weight"] = quotas.share_weight;
  shape["used"] = {{"queued_jobs", use.queued_jobs},
                   {"running_jobs", use.running_jobs},
                   {"storage_bytes", use.storage_bytes},
                   {"tokens_per_month", use.tokens_per_month},
                   {"upload_bytes_per_day", use.upload_bytes_per_day}};
  shape["day_ends_at"] = use.day_ends_at;
  shape["month_ends_at"] = use.month_ends_at;
  return shape;
}

json::object audit_entry_shape(const storage::AuditEntry& entry) {
  json::object shape;
  shape["id"] = entry.id;
  shape["type"] = entry.type;
  shape["effective_at"] = entry.effective_at;
  if (entry.project_id) {
    json::object project;
    project["id"] = *entry.project_id;
    project["name"] = entry.project_name.value_or("");
    shape["project"] = std::move(project);
  }
  shape["actor"] = nullptr;
  if (entry.actor_key_id) {
    json::object key;
    key["id"] = *entry.actor_key_id;
    json::object actor;
    actor["type"] = "api_key";
    actor["api_key"] = std::move(key);
    shape["actor"] = std::move(actor);
  }
  shape[entry.type] = entry.payload;
  return shape;
}

}  // namespace finetuned::gateway
