#pragma once

#include "services/gateway/platform.h"
#include "services/gateway/router.h"

namespace finetuned::gateway {

/// With every route there is, and their document. JSON bodies have at most so many bytes. `platform` outlives the router.
Router make_router(const Platform& platform, std::uint64_t most_json_bytes);

/// Each adds one resource's routes. `platform` outlives the router.
void add_health_routes(Router& router, const Platform& platform);
void add_metrics_route(Router& router, const Platform& platform);
void add_file_routes(Router& router, const Platform& platform);
void add_file_upload_route(Router& router, const Platform& platform);
void add_file_content_route(Router& router, const Platform& platform);
void add_download_routes(Router& router, const Platform& platform);
void add_job_routes(Router& router, const Platform& platform);
void add_job_stream_route(Router& router, const Platform& platform);
void add_job_creation_routes(Router& router, const Platform& platform);
void add_model_routes(Router& router, const Platform& platform);
void add_completion_routes(Router& router, const Platform& platform);
void add_model_export_routes(Router& router, const Platform& platform);
void add_billing_routes(Router& router, const Platform& platform);
void add_statement_routes(Router& router, const Platform& platform);
void add_challenge_routes(Router& router, const Platform& platform);
void add_webhook_routes(Router& router, const Platform& platform);
void add_upload_routes(Router& router, const Platform& platform);
void add_upload_part_route(Router& router, const Platform& platform);
void add_upload_completion_route(Router& router, const Platform& platform, std::uint64_t most_json_bytes);
void add_grader_routes(Router& router, const Platform& platform);

// For admin keys.
void add_admin_key_routes(Router& router, const Platform& platform);
void add_project_routes(Router& router, const Platform& platform);
void add_project_key_routes(Router& router, const Platform& platform);
void add_service_account_routes(Router& router, const Platform& platform);
void add_project_user_routes(Router& router, const Platform& platform);
void add_user_role_routes(Router& router, const Platform& platform);
void add_user_routes(Router& router, const Platform& platform);
void add_rate_limit_routes(Router& router, const Platform& platform);
void add_spend_limit_routes(Router& router, const Platform& platform);
void add_spend_alert_routes(Router& router, const Platform& platform);
void add_price_routes(Router& router, const Platform& platform);
void add_organization_challenge_routes(Router& router, const Platform& platform);
void add_quota_routes(Router& router, const Platform& platform);
void add_audit_log_routes(Router& router, const Platform& platform);
void add_usage_routes(Router& router, const Platform& platform);
void add_cost_routes(Router& router, const Platform& platform);
void add_checkpoint_permission_routes(Router& router, const Platform& platform);

/// Serves the OpenAPI document of the routes that are there by then, and of these: the last ones to be added.
void add_openapi_routes(Router& router);

}  // namespace finetuned::gateway
