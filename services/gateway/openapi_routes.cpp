#include "services/gateway/openapi_routes.h"

namespace finetuned::gateway {

namespace {

constexpr std::string_view kPage = "after?: string; limit?: 1..100; order?: 'asc' | 'desc'";
constexpr std::string_view kPageBothWays = "after?: string; before?: string; limit?: 1..100; order?: 'asc' | 'desc'";
constexpr std::string_view kJobNews = "JobEvent | Job | StreamError | '[DONE]'";

constexpr Operation kFiles[] = {
    {"POST", "/v1/files", "upload_file", "Uploads a file, streamed to disk",
     {.form = "file: binary; purpose: Purpose; 'expires_after[anchor]'?: 'created_at'; 'expires_after[seconds]'?: 3600..2592000",
      .answer = "File", .refusals = {507}}},
    {"GET", "/v1/files", "list_files", "Lists files",
     {.query = "after?: string; limit?: 1..10000; order?: 'asc' | 'desc'; purpose?: string", .answer = "FileList"}},
    {"GET", "/v1/files/{file_id}", "get_file", "Gets a file's description", {.answer = "File"}},
    {"DELETE", "/v1/files/{file_id}", "delete_file", "Deletes a file that no unfinished job uses", {.answer = "Deleted",
      .refusals = {409}}},
    {"GET", "/v1/files/{file_id}/content", "download_file", "The bytes, or a range of them",
     {.media = "application/octet-stream", .statuses = {200, 206, 304}, .refusals = {416}}},
    {"GET", "/v1/files/{file_id}/report", "get_file_report", "What checking a dataset found: faults, rows, tokens by model",
     {.answer = "FileReport"}},
    {"POST", "/v1/files/{file_id}/download_url", "make_download_url", "Makes a URL that opens the content without a key",
     {.body = "DownloadUrlRequest", .may_lack_body = true, .answer = "DownloadUrl"}},
    {"GET", "/v1/downloads/{file_id}", "open_download_url", "The bytes, by a URL that make_download_url answered",
     {.query = "project: string; expires: time; signature: string", .media = "application/octet-stream",
      .statuses = {200, 206, 304}, .refusals = {403, 416}}},
};

constexpr Operation kUploads[] = {
    {"POST", "/v1/uploads", "create_upload", "Begins an upload in parts", {.body = "UploadRequest", .answer = "Upload"}},
    {"POST", "/v1/uploads/{upload_id}/parts", "add_upload_part", "Sends a part", {.form = "data: binary",
      .answer = "UploadPart", .refusals = {409, 507}}},
    {"POST", "/v1/uploads/{upload_id}/complete", "complete_upload", "Puts the parts together as a file",
     {.body = "UploadCompletion", .answer = "Upload", .refusals = {409, 507}}},
    {"POST", "/v1/uploads/{upload_id}/cancel", "cancel_upload", "Gives an upload up", {.answer = "Upload", .refusals = {409}}},
};

constexpr Operation kJobs[] = {
    {"POST", "/v1/fine_tuning/jobs", "create_job", "Creates a job, and holds its price", {.body = "JobRequest", .answer = "Job",
      .refusals = {404, 409, 422}}},
    {"POST", "/v1/fine_tuning/jobs/quote", "quote_job", "The exact tokens, price and place of such a job; creates nothing",
     {.body = "JobRequest", .answer = "JobQuote", .refusals = {404}}},
    {"GET", "/v1/fine_tuning/jobs", "list_jobs", "Lists jobs",
     {.query = "after?: string; limit?: 1..100; order?: 'asc' | 'desc'; metadata?: Metadata", .answer = "JobList"}},
    {"GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}", "get_job", "Gets a job", {.answer = "Job"}},
    {"POST", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel", "cancel_job", "Cancels a job", {.answer = "Job"}},
    {"POST", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/pause", "pause_job", "Pauses a job within a step", {.answer = "Job"}},
    {"POST", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/resume", "resume_job", "Resumes a paused job where it stood",
     {.answer = "Job"}},
    {"GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/events", "list_job_events", "Lists what happened to a job",
     {.query = kPage, .answer = "JobEventList"}},
    {"GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/stream", "stream_job", "A job's events as they happen, then the job",
     {.query = "after?: string", .headers = "'Last-Event-ID'?: string", .events = kJobNews}},
    {"GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints", "list_job_checkpoints", "Lists a job's checkpoints",
     {.query = kPage, .answer = "JobCheckpointList"}},
    {"GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/statement", "get_job_statement", "The bill, a row a billed step",
     {.query = "after?: integer; limit?: 1..1000; format?: 'json' | 'csv'", .answer = "JobStatement",
      .media = "text/csv; charset=utf-8"}},
};

constexpr Operation kModels[] = {
    {"GET", "/v1/models", "list_models", "Lists base models and those that the project may use", {.answer = "ModelList"}},
    {"GET", "/v1/models/{model}", "get_model", "Gets a model", {.answer = "Model"}},
    {"DELETE", "/v1/models/{model}", "delete_model", "Deletes one of the project's fine-tuned models", {.answer = "Deleted"}},
    {"POST", "/v1/models/{model}/export", "export_model", "Has an archive made of a fine-tuned model or checkpoint",
     {.body = "ExportRequest", .answer = "ModelExport", .statuses = {200, 202}}},
    {"GET", "/v1/models/{model}/exports", "list_model_exports", "Lists a model's exports", {.query = kPage,
      .answer = "ModelExportList"}},
    {"GET", "/v1/models/{model}/exports/{export_id}", "get_model_export", "Gets an export", {.answer = "ModelExport"}},
};

constexpr Operation kAnswers[] = {
    {"POST", "/v1/chat/completions", "create_chat_completion", "A model answers a chat", {.body = "ChatRequest",
      .answer = "ChatCompletion", .events = "ChatCompletionChunk | Error | '[DONE]'", .refusals = {404, 503, 504}}},
    {"POST", "/v1/completions", "create_completion", "A model goes on with prompts", {.body = "CompletionRequest",
      .answer = "Completion", .events = "CompletionChunk | Error | '[DONE]'", .refusals = {404, 503, 504}}},
};

constexpr Operation kGraders[] = {
    {"POST", "/v1/fine_tuning/alpha/graders/run", "run_grader", "Grades a sample", {.body = "GraderRunRequest",
      .answer = "GraderRun"}},
    {"POST", "/v1/fine_tuning/alpha/graders/validate", "validate_grader", "Checks a grader", {.body = "GraderValidation",
      .answer = "GraderValidation"}},
};

constexpr Operation kWebhooks[] = {
    {"POST", "/v1/webhook_endpoints", "create_webhook_endpoint", "Adds an endpoint; its secret is shown once",
     {.body = "WebhookEndpointRequest", .answer = "WebhookEndpointWithSecret", .refusals = {409, 422}}},
    {"GET", "/v1/webhook_endpoints", "list_webhook_endpoints", "Lists endpoints", {.query = kPage,
      .answer = "WebhookEndpointList"}},
    {"GET", "/v1/webhook_endpoints/{webhook_endpoint_id}", "get_webhook_endpoint", "Gets an endpoint",
     {.answer = "WebhookEndpoint"}},
    {"POST", "/v1/webhook_endpoints/{webhook_endpoint_id}", "update_webhook_endpoint", "Changes what the body names",
     {.body = "WebhookEndpointChange", .answer = "WebhookEndpoint"}},
    {"DELETE", "/v1/webhook_endpoints/{webhook_endpoint_id}", "delete_webhook_endpoint", "Deletes an endpoint",
     {.answer = "Deleted"}},
    {"POST", "/v1/webhook_endpoints/{webhook_endpoint_id}/rotate_secret", "rotate_webhook_secret",
     "Makes a new secret, and shows it once", {.answer = "WebhookEndpointWithSecret"}},
    {"GET", "/v1/webhook_endpoints/{webhook_endpoint_id}/deliveries", "list_webhook_deliveries",
     "What became of the last seven days' events", {.query = kPage, .answer = "WebhookDeliveryList"}},
    {"POST", "/v1/webhook_endpoints/{webhook_endpoint_id}/test", "test_webhook_endpoint", "Sends a test event",
     {.answer = "WebhookDelivery", .refusals = {409}}},
};

constexpr Operation kBilling[] = {
    {"GET", "/v1/billing/balances", "list_balances", "What the project has, holds and has spent", {.answer = "BalanceList"}},
    {"GET", "/v1/billing/transfers", "list_transfers", "Lists the project's entries of a ledger",
     {.query = "after?: string; limit?: 1..100; order?: 'asc' | 'desc'; ledger?: Ledger", .answer = "TransferList"}},
    {"GET", "/v1/billing/statement", "get_statement", "A month of the project's account",
     {.query = "month: string; format?: 'json' | 'csv'; ledger?: Ledger", .answer = "MonthlyStatement", .media = "text/csv; charset=utf-8"}},
    {"POST", "/v1/organization/projects/{project_id}/credits", "credit_project", "Credits a project",
     {.body = "CreditRequest", .answer = "Credit", .refusals = {409}}},
    {"GET", "/v1/organization/prices", "list_prices", "Lists the versions of prices, the platform's among them",
     {.query = kPageBothWays, .answer = "PriceList"}},
    {"POST", "/v1/organization/prices", "create_price", "Sets a price of the organization from a time on",
     {.body = "PriceRequest", .answer = "Price", .refusals = {409, 422}}},
    {"GET", "/v1/organization/projects/{project_id}/credit_limit", "get_credit_limit", "How much a project may owe",
     {.answer = "CreditLimit"}},
    {"PUT", "/v1/organization/projects/{project_id}/credit_limit", "put_credit_limit", "Sets how much a project may owe",
     {.body = "CreditLimitRequest", .answer = "CreditLimit"}},
};

constexpr Operation kChallenges[] = {
    {"GET", "/v1/challenges", "list_challenges", "Lists what better recipes are wanted for", {.query = kPage,
      .answer = "ChallengeList"}},
    {"GET", "/v1/challenges/{challenge_id}", "get_challenge", "Gets a challenge, with the recipe to beat", {.answer = "Challenge"}},
    {"GET", "/v1/challenges/{challenge_id}/leaderboard", "get_leaderboard",
     "What was measured, best first: won and lost, seeds and curves", {.query = "limit?: 1..50", .answer = "Leaderboard"}},
    {"POST", "/v1/challenges/{challenge_id}/contributions", "submit_contribution", "Submits a recipe, to be verified",
     {.body = "ContributionRequest", .answer = "Contribution", .refusals = {404, 409, 422}}},
    {"GET", "/v1/challenges/{challenge_id}/contributions", "list_contributions", "Lists the project's own contributions",
     {.query = kPage, .answer = "ContributionList"}},
    {"GET", "/v1/challenges/{challenge_id}/contributions/{contribution_id}", "get_contribution",
     "Gets one of the project's contributions", {.answer = "Contribution"}},
    {"POST", "/v1/organization/challenges", "create_challenge", "Makes a challenge on a project's files, which pays for its runs",
     {.body = "ChallengeRequest", .answer = "OrganizationChallenge", .refusals = {404, 409, 422}}},
    {"GET", "/v1/organization/challenges", "list_organization_challenges", "Lists the organization's challenges", {.query = kPage,
      .answer = "OrganizationChallengeList"}},
    {"POST", "/v1/organization/challenges/{challenge_id}/close", "close_challenge", "Takes no more contributions",
     {.answer = "OrganizationChallenge"}},
    {"POST", "/v1/organization/challenges/{challenge_id}/contributions/{contribution_id}/confirm", "confirm_contribution",
     "Verifies a second time, with fresh seeds: the pending half vests or is forfeited", {.answer = "LeaderboardEntry",
      .refusals = {409}}},
};

constexpr Operation kProjects[] = {
    {"GET", "/v1/organization/projects", "list_projects", "Lists projects",
     {.query = "after?: string; limit?: 1..100; order?: 'asc' | 'desc'; include_archived?: boolean", .answer = "ProjectList"}},
    {"POST", "/v1/organization/projects", "create_project", "Creates a project", {.body = "ProjectRequest", .answer = "Project",
      .refusals = {409, 422}}},
    {"GET", "/v1/organization/projects/{project_id}", "get_project", "Gets a project", {.answer = "Project"}},
    {"POST", "/v1/organization/projects/{project_id}", "update_project", "Renames a project", {.body = "ProjectChange",
      .answer = "Project", .refusals = {409}}},
    {"POST", "/v1/organization/projects/{project_id}/archive", "archive_project", "Archives a project, for good",
     {.answer = "Project"}},
    {"GET", "/v1/organization/projects/{project_id}/quotas", "get_quotas", "Gets a project's quotas and what is used of them",
     {.answer = "Quotas"}},
    {"PUT", "/v1/organization/projects/{project_id}/quotas", "put_quotas", "Sets all of a project's quotas",
     {.body = "QuotasRequest", .answer = "Quotas"}},
    {"GET", "/v1/organization/projects/{project_id}/rate_limits", "list_rate_limits", "Lists a project's rate limits by model",
     {.query = kPageBothWays, .answer = "RateLimitList"}},
    {"POST", "/v1/organization/projects/{project_id}/rate_limits/{rate_limit_id}", "update_rate_limit",
     "Changes what the body names", {.body = "RateLimits", .answer = "RateLimit"}},
};

constexpr Operation kKeys[] = {
    {"GET", "/v1/organization/admin_api_keys", "list_admin_keys", "Lists admin keys", {.query = kPage, .answer = "AdminKeyList"}},
    {"POST", "/v1/organization/admin_api_keys", "create_admin_key", "Creates an admin key, and shows it once",
     {.body = "AdminKeyRequest", .answer = "AdminKeyWithValue", .refusals = {409, 422}}},
    {"GET", "/v1/organization/admin_api_keys/{key_id}", "get_admin_key", "Gets an admin key", {.answer = "AdminKey"}},
    {"DELETE", "/v1/organization/admin_api_keys/{key_id}", "delete_admin_key", "Deletes an admin key", {.answer = "Deleted"}},
    {"GET", "/v1/organization/projects/{project_id}/api_keys", "list_project_keys", "Lists a project's keys",
     {.query = "after?: string; limit?: 1..100; order?: 'asc' | 'desc'; owner_project_access?: 'active' | 'inactive' | 'any'",
      .answer = "ProjectKeyList"}},
    {"GET", "/v1/organization/projects/{project_id}/api_keys/{api_key_id}", "get_project_key", "Gets a project's key",
     {.answer = "ProjectKey"}},
    {"DELETE", "/v1/organization/projects/{project_id}/api_keys/{api_key_id}", "delete_project_key",
     "Deletes a project's key that is no service account's", {.answer = "Deleted"}},
    {"GET", "/v1/organization/projects/{project_id}/service_accounts", "list_service_accounts", "Lists service accounts",
     {.query = kPage, .answer = "ServiceAccountList"}},
    {"POST", "/v1/organization/projects/{project_id}/service_accounts", "create_service_account",
     "Creates a service account, and shows its key once", {.body = "ServiceAccountRequest", .answer = "ServiceAccountWithKey",
      .refusals = {409, 422}}},
    {"GET", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}", "get_service_account",
     "Gets a service account", {.answer = "ServiceAccount"}},
    {"POST", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}", "update_service_account",
     "Changes what the body names", {.body = "ServiceAccountChange", .answer = "ServiceAccount"}},
    {"DELETE", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}", "delete_service_account",
     "Deletes a service account with its keys", {.answer = "Deleted"}},
    {"POST", "/v1/organization/projects/{project_id}/service_accounts/{service_account_id}/api_keys",
     "create_service_account_key", "Creates one more key, and shows it once", {.body = "ServiceAccountKeyRequest",
      .may_lack_body = true, .answer = "ServiceAccountKey", .refusals = {409, 422}}},
};

constexpr Operation kPeople[] = {
    {"GET", "/v1/organization/users", "list_users", "Lists people",
     {.query = "after?: string; limit?: 1..100; order?: 'asc' | 'desc'; 'emails[]'?: string[]", .answer = "UserList"}},
    {"GET", "/v1/organization/users/{user_id}", "get_user", "Gets a person, with the projects they are in", {.answer = "User"}},
    {"POST", "/v1/organization/users/{user_id}", "update_user", "Changes what the body names", {.body = "UserChange",
      .answer = "User"}},
    {"DELETE", "/v1/organization/users/{user_id}", "delete_user", "Removes a person from the organization", {.answer = "Deleted"}},
    {"GET", "/v1/organization/users/{user_id}/roles", "list_user_roles", "Lists the one role that a person has",
     {.query = "after?: string; limit?: 0..1000; order?: 'asc' | 'desc'", .answer = "UserRoleList"}},
    {"POST", "/v1/organization/users/{user_id}/roles", "assign_user_role", "Gives a person a role in place of the one they have",
     {.body = "UserRoleRequest", .answer = "UserRole"}},
    {"GET", "/v1/organization/users/{user_id}/roles/{role_id}", "get_user_role", "Gets a role that a person has",
     {.answer = "AssignedRole"}},
    {"DELETE", "/v1/organization/users/{user_id}/roles/{role_id}", "unassign_user_role", "Takes the role of owner away",
     {.answer = "UserRoleDeleted"}},
    {"GET", "/v1/organization/projects/{project_id}/users", "list_project_users", "Lists a project's people", {.query = kPage,
      .answer = "ProjectUserList"}},
    {"POST", "/v1/organization/projects/{project_id}/users", "add_project_user", "Adds a person to a project",
     {.body = "ProjectUserRequest", .answer = "ProjectUser", .refusals = {409, 422}}},
    {"GET", "/v1/organization/projects/{project_id}/users/{user_id}", "get_project_user", "Gets a project's person",
     {.answer = "ProjectUser"}},
    {"POST", "/v1/organization/projects/{project_id}/users/{user_id}", "update_project_user", "Changes a person's role",
     {.body = "ProjectUserChange", .answer = "ProjectUser"}},
    {"DELETE", "/v1/organization/projects/{project_id}/users/{user_id}", "remove_project_user",
     "Removes a person from a project", {.answer = "Deleted"}},
};

constexpr std::string_view kAlertPage = "after?: string; before?: string; limit?: 0..100; order?: 'asc' | 'desc'";

constexpr Operation kSpending[] = {
    {"GET", "/v1/organization/spend_limit", "get_spend_limit", "Gets the organization's spend limit", {.answer = "SpendLimit",
      .refusals = {404}}},
    {"POST", "/v1/organization/spend_limit", "set_spend_limit", "Sets the organization's spend limit",
     {.body = "SpendLimitRequest", .answer = "SpendLimit"}},
    {"DELETE", "/v1/organization/spend_limit", "delete_spend_limit", "Lifts the organization's spend limit",
     {.answer = "SpendLimitDeleted", .refusals = {404}}},
    {"GET", "/v1/organization/projects/{project_id}/spend_limit", "get_project_spend_limit", "Gets a project's spend limit",
     {.answer = "SpendLimit"}},
    {"POST", "/v1/organization/projects/{project_id}/spend_limit", "set_project_spend_limit", "Sets a project's spend limit",
     {.body = "SpendLimitRequest", .answer = "SpendLimit"}},
    {"DELETE", "/v1/organization/projects/{project_id}/spend_limit", "delete_project_spend_limit",
     "Lifts a project's spend limit", {.answer = "SpendLimitDeleted"}},
    {"GET", "/v1/organization/spend_alerts", "list_spend_alerts", "Lists the organization's spend alerts", {.query = kAlertPage,
      .answer = "SpendAlertList"}},
    {"POST", "/v1/organization/spend_alerts", "create_spend_alert", "Adds a spend alert of the organization",
     {.body = "SpendAlertRequest", .answer = "SpendAlert", .refusals = {409, 422}}},
    {"GET", "/v1/organization/spend_alerts/{alert_id}", "get_spend_alert", "Gets a spend alert", {.answer = "SpendAlert"}},
    {"POST", "/v1/organization/spend_alerts/{alert_id}", "update_spend_alert", "Replaces a spend alert",
     {.body = "SpendAlertRequest", .answer = "SpendAlert"}},
    {"DELETE", "/v1/organization/spend_alerts/{alert_id}", "delete_spend_alert", "Deletes a spend alert", {.answer = "Deleted"}},
    {"GET", "/v1/organization/projects/{project_id}/spend_alerts", "list_project_spend_alerts",
     "Lists a project's spend alerts", {.query = kAlertPage, .answer = "SpendAlertList"}},
    {"POST", "/v1/organization/projects/{project_id}/spend_alerts", "create_project_spend_alert",
     "Adds a spend alert of a project", {.body = "SpendAlertRequest", .answer = "SpendAlert", .refusals = {409, 422}}},
    {"GET", "/v1/organization/projects/{project_id}/spend_alerts/{alert_id}", "get_project_spend_alert",
     "Gets a project's spend alert", {.answer = "SpendAlert"}},
    {"POST", "/v1/organization/projects/{project_id}/spend_alerts/{alert_id}", "update_project_spend_alert",
     "Replaces a project's spend alert", {.body = "SpendAlertRequest", .answer = "SpendAlert"}},
    {"DELETE", "/v1/organization/projects/{project_id}/spend_alerts/{alert_id}", "delete_project_spend_alert",
     "Deletes a project's spend alert", {.answer = "Deleted"}},
};

constexpr Operation kOversight[] = {
    {"GET", "/v1/organization/audit_logs", "list_audit_logs", "Lists what administrators did",
     {.query = "after?: string; before?: string; limit?: 1..100; order?: 'asc' | 'desc';"
              "effective_at?: {gt?: time; gte?: time; lt?: time; lte?: time}; 'project_ids[]'?: string[]; 'event_types[]'?: string[];"
              "'actor_ids[]'?: string[]; 'actor_emails[]'?: string[]; 'resource_ids[]'?: string[]; tenant_only?: boolean",
      .answer = "AuditLogList"}},
    {"GET", "/v1/organization/usage/completions", "get_completions_usage", "Tokens and requests of models' answers, by time",
     {.query = "start_time: time; end_time?: time; bucket_width?: '1m' | '1h' | '1d'; limit?: 1..1440; page?: string;"
              "'group_by[]'?: ('project_id' | 'user_id' | 'api_key_id' | 'model' | 'batch' | 'service_tier')[];"
              "'project_ids[]'?: string[]; 'api_key_ids[]'?: string[]; 'models[]'?: string[]; 'user_ids[]'?: string[]; batch?: boolean",
      .answer = "CompletionsUsagePage"}},
    {"GET", "/v1/organization/costs", "get_costs", "Charges by days",
     {.query = "start_time: time; end_time?: time; bucket_width?: '1d'; limit?: 1..180; page?: string;"
              "'group_by[]'?: ('project_id' | 'line_item' | 'api_key_id')[]; 'project_ids[]'?: string[]; 'api_key_ids[]'?: string[]",
      .answer = "CostPage"}},
    {"GET", "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions", "list_permissions",
     "Lists the projects that may use another one's model",
     {.query = "after?: string; limit?: 1..100; order?: 'ascending' | 'descending'; project_id?: string",
      .answer = "PermissionList"}},
    {"POST", "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions", "create_permissions",
     "Lets projects use another one's model", {.body = "PermissionRequest", .answer = "PermissionList"}},
    {"DELETE", "/v1/fine_tuning/checkpoints/{fine_tuned_model_checkpoint}/permissions/{permission_id}", "delete_permission",
     "Takes such a permission back", {.answer = "Deleted"}},
};

constexpr Operation kPlatform[] = {
    {"GET", "/healthz", "get_health", "Whether the gateway runs", {.answer = "Health"}},
    {"GET", "/readyz", "get_readiness", "Whether PostgreSQL, Redis and storage answer", {.answer = "Readiness",
      .statuses = {200, 503}}},
    {"GET", "/metrics", "get_metrics", "Prometheus' text format; an admin key is needed from other machines",
     {.media = "text/plain; version=0.0.4; charset=utf-8", .refusals = {401, 403}}},
    {"GET", "/openapi.json", "get_document", "This document", {.answer = "Document", .statuses = {200, 304}}},
    {"GET", "/v1/openapi.json", "get_document_below_v1", "This document", {.answer = "Document", .statuses = {200, 304}}},
};

constexpr OperationGroup kGroups[] = {
    {"Files", "Datasets and results", kFiles},
    {"Uploads", "Files that are sent in parts", kUploads},
    {"Fine-tuning", "Jobs, their prices, events and checkpoints", kJobs},
    {"Models", "Base models, fine-tuned models, and archives of these", kModels},
    {"Answers", "Chats and completions", kAnswers},
    {"Graders", "Samples' rewards", kGraders},
    {"Webhooks", "Whom to tell when jobs end", kWebhooks},
    {"Billing", "Balances and the ledgers; amounts are strings of nano-dollars or micro-points", kBilling},
    {"Challenges", "Better recipes, and the compute points that they earn: strings of micro-points", kChallenges},
    {"Projects", "Projects, their quotas and rate limits", kProjects},
    {"Keys", "Admin keys, projects' keys and service accounts", kKeys},
    {"People", "People and their roles", kPeople},
    {"Spending", "Spend limits and alerts, in cents a calendar month", kSpending},
    {"Oversight", "The audit log, usage, costs, and permissions between projects", kOversight},
    {"Platform", "The gateway itself", kPlatform},
};

}  // namespace

std::span<const OperationGroup> operation_groups() { return kGroups; }

}  // namespace finetuned::gateway
