#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "storage/file_store.h"
#include "storage/job.h"
#include "storage/model_store.h"
#include "storage/organization_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::tests {

/// A project of a fresh organization.
storage::Project make_project(postgres::Pool& pool);

/// A registered base model under a fresh name; `fingerprint` empty makes a fresh one.
storage::BaseModel make_base_model(postgres::Pool& pool, std::int64_t context = 512, std::string fingerprint = "");

/// A `fine-tune` file in state `uploaded`, with an object id that no store knows.
storage::File make_file(postgres::Pool& pool, const storage::Project& project);

/// The same, `processed` and counted for `base`: one row an element.
storage::File make_counted_file(postgres::Pool& pool, const storage::Project& project, const storage::BaseModel& base,
                                const std::vector<std::uint32_t>& row_tokens);

/// A job of one project on a file; not inserted.
storage::NewJob new_job(const storage::Project& project, const storage::BaseModel& base_model, const storage::File& file,
                        std::int64_t epochs = 1);

/// Credit in nano-dollars, from an administrator.
void give_credit(postgres::Pool& pool, const storage::Project& project, std::int64_t nano);

}  // namespace finetuned::tests
