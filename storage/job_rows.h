#pragma once

#include <string>

#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// The columns that read_job_row maps, for SELECT and RETURNING on table `job`.
extern const char* const kJobColumns;

Job read_job_row(const postgres::Row& row);

/// Inserts events of a job whose row the transaction has locked already.
void insert_events(postgres::Transaction& tx, const std::string& job_id, const std::string& project_id,
                   const std::vector<NewEvent>& events);

}  // namespace finetuned::storage
