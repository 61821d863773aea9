#pragma once

#include "services/gateway/platform.h"
#include "services/gateway/router.h"

namespace finetuned::gateway {

/// Each adds one resource's routes. `platform` outlives the router.
void add_health_routes(Router& router, const Platform& platform);
void add_file_routes(Router& router, const Platform& platform);
void add_file_upload_route(Router& router, const Platform& platform);
void add_file_content_route(Router& router, const Platform& platform);
void add_job_routes(Router& router, const Platform& platform);
void add_job_creation_routes(Router& router, const Platform& platform);
void add_model_routes(Router& router, const Platform& platform);
void add_billing_routes(Router& router, const Platform& platform);

}  // namespace finetuned::gateway
