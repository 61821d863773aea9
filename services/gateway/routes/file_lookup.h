#pragma once

#include <string>

#include "storage/file_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::gateway {

/// The project's file. Throws ApiError 404 `file_not_found`, for another project's file too.
storage::File find_file(postgres::Transaction& tx, const std::string& id);

}  // namespace finetuned::gateway
