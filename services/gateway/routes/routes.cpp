#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

Router make_router(const Platform& platform, std::uint64_t most_json_bytes) {
  Router router(most_json_bytes);
  add_health_routes(router, platform);
  add_metrics_route(router, platform);
  add_file_routes(router, platform);
  add_file_upload_route(router, platform);
  add_file_content_route(router, platform);
  add_download_routes(router, platform);
  add_job_routes(router, platform);
  add_job_stream_route(router, platform);
  add_job_creation_routes(router, platform);
  add_model_routes(router, platform);
  add_completion_routes(router, platform);
  add_model_export_routes(router, platform);
  add_billing_routes(router, platform);
  add_statement_routes(router, platform);
  add_grader_routes(router, platform);
  add_admin_key_routes(router, platform);
  add_project_routes(router, platform);
  add_project_key_routes(router, platform);
  add_service_account_routes(router, platform);
  add_project_user_routes(router, platform);
  add_user_role_routes(router, platform);
  add_user_routes(router, platform);
  add_rate_limit_routes(router, platform);
  add_spend_limit_routes(router, platform);
  add_spend_alert_routes(router, platform);
  add_price_routes(router, platform);
  add_organization_challenge_routes(router, platform);
  add_quota_routes(router, platform);
  add_audit_log_routes(router, platform);
  add_usage_routes(router, platform);
  add_cost_routes(router, platform);
  add_checkpoint_permission_routes(router, platform);
  add_challenge_routes(router, platform);
  add_webhook_routes(router, platform);
  add_upload_routes(router, platform);
  add_upload_part_route(router, platform);
  add_upload_completion_route(router, platform, most_json_bytes);
  add_openapi_routes(router);
  return router;
}

}  // namespace finetuned::gateway
