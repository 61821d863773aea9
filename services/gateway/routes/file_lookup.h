#pragma once

#include <string>

#include "services/gateway/http.h"
#include "services/gateway/platform.h"
#include "storage/file_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::gateway {

/// The project's file. Throws ApiError 404 `file_not_found`, for another project's file too.
storage::File find_file(postgres::Transaction& tx, const std::string& id);

/// Its bytes: whole, the part that `Range` asks for, or a 304. Throws ApiError 416. On the object store's threads.
Response content_of(const Platform& platform, const Request& request, const storage::File& file);

}  // namespace finetuned::gateway
