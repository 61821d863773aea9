#pragma once

#include "storage/file_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// The columns that read_file_row maps, for SELECT and RETURNING.
inline constexpr char kFileColumns[] =
    "file.id, file.project_id, file.purpose, file.filename, file.bytes, file.sha256, file.object_id, file.status,"
    " file.status_details, extract(epoch FROM file.created_at)::bigint AS created_at,"
    " extract(epoch FROM file.expires_at)::bigint AS expires_at";

File read_file_row(const postgres::Row& row);

}  // namespace finetuned::storage
