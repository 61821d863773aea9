#include "services/gateway/openapi_schemas.h"

namespace finetuned::gateway {

namespace {

constexpr NamedType kTypes[] = {
    {"AdminKeyRequest", "{name: string; expires_in_seconds?: 1..31536000}"},
    {"AdminKey",
     "{object: 'organization.admin_api_key'; id: string; name: string; redacted_value: string; created_at: time; "
     "expires_at: time | null; last_used_at: time | null; owner: {type: 'user'; object: 'organization.user'; "
     "id: string; name: string; created_at: time; role: 'owner'}}"},
    {"AdminKeyWithValue", "{...AdminKey; value: string}"},
    {"AdminKeyList", "{...List; data: AdminKey[]}"},

    {"ProjectRequest", "{name: string}"},
    {"ProjectChange", "{name?: string}"},
    {"Project",
     "{object: 'organization.project'; id: string; name: string; created_at: time; archived_at: time | null; "
     "status: 'active' | 'archived'; external_key_id: null}"},
    {"ProjectList", "{...List; data: Project[]}"},
    {"ProjectKey",
     "{object: 'organization.project.api_key'; id: string; name: string; redacted_value: string; created_at: time; "
     "last_used_at: time | null; owner_project_access: 'active' | 'inactive'; owner: {type?: 'service_account'; "
     "service_account?: {id: string; name: string; created_at: time; role: AccountRole}}}"},
    {"ProjectKeyList", "{...List; data: ProjectKey[]}"},

    {"AccountRole", "'none' | 'member' | 'owner'"},
    {"ServiceAccountRequest", "{name: string; create_service_account_only?: boolean}"},
    {"ServiceAccountChange", "{name?: string; role?: 'member' | 'owner'}"},
    {"ServiceAccount",
     "{object: 'organization.project.service_account'; id: string; name: string; role: AccountRole; created_at: time}"},
    {"ServiceAccountWithKey", "{...ServiceAccount; api_key: ServiceAccountKey | null}"},
    {"ServiceAccountList", "{...List; data: ServiceAccount[]}"},
    {"ServiceAccountKeyRequest", "{name?: string}"},
    {"ServiceAccountKey",
     "{object: 'organization.project.service_account.api_key'; id: string; name: string; created_at: time; "
     "value: string}"},

    {"UserChange", "{role?: 'owner' | 'reader'; technical_level?: string; developer_persona?: string}"},
    {"User",
     "{object: 'organization.user'; id: string; name: string | null; email: string; role: 'owner' | 'reader'; "
     "added_at: time; created: time; is_default: boolean; user: {object: 'user'; id: string; email: string; "
     "name: string | null; picture: null; enabled: null; banned: null; banned_at: null}; is_service_account: boolean; "
     "is_scale_tier_authorized_purchaser: null; is_scim_managed: boolean; api_key_last_used_at: null; "
     "technical_level: string | null; developer_persona: string | null; projects: {object: 'list'; data: {id: string; "
     "name: string; role: 'owner' | 'member'}[]} | null}"},
    {"UserList", "{...List; data: User[]}"},
    {"UserRoleRequest", "{role_id: string}"},
    {"RoleFields",
     "{id: string; name: string; description: string | null; permissions: string[]; resource_type: string; "
     "predefined_role: boolean}"},
    {"AssignedRole",
     "{...RoleFields; created_at: null; updated_at: null; created_by: null; created_by_user_obj: null; metadata: null; "
     "assignment_sources: {principal_id: string; principal_type: 'user'}[]}"},
    {"UserRoleList", "{object: 'list'; data: AssignedRole[]; has_more: boolean; next: string | null}"},
    {"UserRole", "{object: 'user.role'; user: User; role: {object: 'role'; ...RoleFields}}"},
    {"UserRoleDeleted", "{object: 'user.role.deleted'; deleted: boolean}"},
    {"ProjectUserRequest", "{role: 'owner' | 'member'; user_id?: string; email?: string}"},
    {"ProjectUserChange", "{role?: 'owner' | 'member'}"},
    {"ProjectUser",
     "{object: 'organization.project.user'; id: string; name: string | null; email: string; role: 'owner' | 'member'; "
     "added_at: time}"},
    {"ProjectUserList", "{...List; data: ProjectUser[]}"},

    {"RateLimits",
     "{max_requests_per_1_minute?: integer; max_tokens_per_1_minute?: integer; max_images_per_1_minute?: integer; "
     "max_audio_megabytes_per_1_minute?: integer; max_requests_per_1_day?: integer; "
     "batch_1_day_max_input_tokens?: integer}"},
    {"RateLimit", "{object: 'project.rate_limit'; id: string; model: string; ...RateLimits}"},
    {"RateLimitList", "{...List; data: RateLimit[]}"},

    {"SpendLimitRequest", "{threshold_amount: integer; currency: 'USD'; interval: 'month'}"},
    {"SpendLimit",
     "{object: 'organization.spend_limit' | 'project.spend_limit'; threshold_amount: integer; currency: 'USD'; "
     "interval: 'month'; enforcement: {status: 'enforcing' | 'inactive'}}"},
    {"SpendLimitDeleted",
     "{object: 'organization.spend_limit.deleted' | 'project.spend_limit.deleted'; deleted: boolean}"},
    {"SpendAlertRequest",
     "{threshold_amount: integer; currency: 'USD'; interval: 'month'; notification_channel: {type: 'email'; "
     "recipients: string[]; subject_prefix?: string}}"},
    {"SpendAlert",
     "{object: 'organization.spend_alert' | 'project.spend_alert'; id: string; threshold_amount: integer; "
     "currency: 'USD'; interval: 'month'; notification_channel: {type: 'email'; recipients: string[]; "
     "subject_prefix: string | null}}"},
    {"SpendAlertList", "{...List; data: SpendAlert[]}"},

    {"QuotasRequest",
     "{queued_jobs?: integer | null; running_jobs?: integer | null; storage_bytes?: integer | null; "
     "tokens_per_month?: integer | null; upload_bytes_per_day?: integer | null; share_weight?: 1..1000}"},
    {"Quotas",
     "{object: 'organization.project.quotas'; queued_jobs: integer | null; running_jobs: integer | null; "
     "storage_bytes: integer | null; tokens_per_month: integer | null; upload_bytes_per_day: integer | null; share_weight: integer; "
     "used: {queued_jobs: integer; running_jobs: integer; storage_bytes: integer; tokens_per_month: integer; "
     "upload_bytes_per_day: integer}; day_ends_at: time; month_ends_at: time; limits: LimitUse[]}"},
    {"LimitUse",
     "{name: string; unit: 'jobs' | 'bytes' | 'tokens' | 'requests' | 'nano_dollars'; limit: integer | nano | null; "
     "used: integer | nano; frees_at: time | null; frees: string}"},

    {"CreditRequest", "{amount: nano; reason: string; transfer_id?: string; [key]: never}"},
    {"Credit", "{object: 'billing.credit'; project_id: string; transfer: Transfer | null; balance: Balance}"},
    {"PriceRequest", "{nano_per_1k: nano; model?: string | null; method?: 'supervised' | 'inference_input' | 'inference_output'; valid_from?: time}"},
    {"Price",
     "{object: 'organization.price'; id: string; version: integer; model: string | null; method: string; nano_per_1k: nano; "
     "valid_from: time; valid_until: time | null; set_by: 'organization' | 'platform'}"},
    {"PriceList", "{...List; data: Price[]}"},
    {"CreditLimitRequest", "{amount: nano; [key]: never}"},
    {"CreditLimit", "{object: 'organization.project.credit_limit'; project_id: string; amount: nano; balance: Balance}"},

    {"ChallengeRequest",
     "{project_id: string; name: string; description?: string; model: string; training_file: string; validation_file: string; "
     "metric?: Metric; token_budget: integer; seeds?: integer[]; reward: micro; target: number; margin?: number; "
     "baseline?: HyperparametersRequest}"},
    {"OrganizationChallenge", "{...Challenge; project_id: string; training_file: string; validation_file: string}"},
    {"OrganizationChallengeList", "{...List; data: OrganizationChallenge[]}"},

    {"AuditPayload", "{id: string; data?: {[key]: any}; changes_requested?: {[key]: any}}"},
    {"AuditLog",
     "{id: string; type: string; effective_at: time; project?: {id: string; name: string}; actor: {type: 'api_key'; "
     "api_key: {id: string}} | null; [type]: AuditPayload}"},
    {"AuditLogList", "{...List; data: AuditLog[]}"},

    {"CompletionsUsage",
     "{object: 'organization.usage.completions.result'; input_tokens: integer; output_tokens: integer; "
     "num_model_requests: integer; input_cached_tokens: integer; input_audio_tokens: integer; "
     "output_audio_tokens: integer; project_id: string | null; user_id: null; api_key_id: string | null; "
     "model: string | null; batch: null; service_tier: null}"},
    {"Cost",
     "{object: 'organization.costs.result'; amount: {value: number; currency: 'usd'}; points: string; line_item: string | null; "
     "project_id: string | null; api_key_id: null; quantity: number | null; quantity_unit: '1000_tokens' | null}"},
    {"Page", "{object: 'page'; has_more: boolean; next_page: string | null}"},
    {"Bucket", "{object: 'bucket'; start_time: time; end_time: time}"},
    {"CompletionsUsagePage", "{...Page; data: {...Bucket; results: CompletionsUsage[]}[]}"},
    {"CostPage", "{...Page; data: {...Bucket; results: Cost[]}[]}"},

    {"PermissionRequest", "{project_ids: string[]}"},
    {"Permission", "{object: 'checkpoint.permission'; id: string; created_at: time; project_id: string}"},
    {"PermissionList", "{...List; data: Permission[]}"},
};

}  // namespace

std::span<const NamedType> admin_types() { return kTypes; }

}  // namespace finetuned::gateway
