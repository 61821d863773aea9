#pragma once

#include <string>

#include "base/json.h"
#include "storage/audit_store.h"
#include "storage/key_store.h"
#include "storage/organization_store.h"
#include "storage/quota_store.h"
#include "storage/rate_limit_store.h"
#include "storage/service_account_store.h"
#include "storage/spend_store.h"
#include "storage/user_store.h"

namespace finetuned::gateway {

/// Rows of the administrators' resources as the API's objects. Every nullable key is present.

/// An admin key belongs to the organization itself, which stands in for the owner that OpenAI names.
base::json::object admin_key_shape(const storage::ApiKey& key, const storage::Organization& organization);
base::json::object project_shape(const storage::Project& project);
/// `access`: `active` or `inactive`. The owner of a key that the operator made for the project is an empty object.
base::json::object project_key_shape(const storage::ApiKey& key, const std::string& access);
base::json::object service_account_shape(const storage::ServiceAccount& account);
/// With the secret: shown at creation only.
base::json::object account_key_shape(const storage::NewKey& made);
base::json::object user_shape(const storage::User& user);
base::json::object project_user_shape(const storage::ProjectUser& user);
base::json::object rate_limit_shape(const storage::RateLimit& limit);
/// `object`: `organization.spend_alert` or `project.spend_alert`.
base::json::object spend_alert_shape(const storage::SpendAlert& alert, const std::string& object);
/// Without the limits, which the route adds.
base::json::object quotas_shape(const storage::Quotas& quotas, const storage::QuotaUse& use);
base::json::object audit_entry_shape(const storage::AuditEntry& entry);

/// A rate limit's id is this and the model's name.
inline constexpr std::string_view kRateLimitPrefix = "rl-";

}  // namespace finetuned::gateway
