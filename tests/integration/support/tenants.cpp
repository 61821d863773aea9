#include "tests/integration/support/tenants.h"

#include <algorithm>
#include <numeric>

#include "base/expects.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "billing/ledger.h"
#include "storage/intake_store.h"

namespace finetuned::tests {

using postgres::Scope;
using postgres::Transaction;

storage::Project make_project(postgres::Pool& pool) {
  return pool.transact(Scope::system(), [](Transaction& tx) {
    storage::OrganizationStore store(tx);
    const auto organization = store.ensure_organization(base::make_id("Acme"));
    return store.ensure_project(organization.id, "research");
  });
}

storage::BaseModel make_base_model(postgres::Pool& pool, std::int64_t context, std::string fingerprint) {
  storage::BaseModel model;
  model.name = base::make_id("llama");
  model.family = "llama";
  model.parameters = 260'000;
  model.context = context;
  model.tokenizer_fingerprint = fingerprint.empty() ? base::sha256_hex(model.name) : fingerprint;
  model.sha256 = base::sha256_hex(model.name + " weights");
  model.directory = "/models/" + model.sha256;
  pool.transact(Scope::system(), [&](Transaction& tx) { storage::ModelStore(tx).add_base(model); });
  return model;
}

storage::File make_file(postgres::Pool& pool, const storage::Project& project) {
  storage::NewFile file;
  file.id = base::make_id("file");
  file.project_id = project.id;
  file.purpose = "fine-tune";
  file.filename = "train.jsonl";
  file.bytes = 1000;
  file.sha256 = base::sha256_hex(file.id);
  file.object_id = file.sha256.substr(0, 32);
  return pool.transact(Scope::project(project.id), [&](Transaction& tx) { return storage::FileStore(tx).create(file); });
}

storage::File make_counted_file(postgres::Pool& pool, const storage::Project& project,
                                const storage::BaseModel& model, const std::vector<std::uint32_t>& row_tokens) {
  const storage::File file = make_file(pool, project);
  return pool.transact(Scope::system(), [&](Transaction& tx) {
    // The file itself, not whichever intake would claim next: other tests' files wait in the same database.
    tx.execute(
        "UPDATE file SET intake_epoch = 1, intake_owner = 'test', intake_until = clock_timestamp() + interval '1 min'"
        " WHERE id = $1",
        {file.id});
    storage::IntakeStore intake(tx);
    const storage::IntakeLease lease{file.id, 1};
    storage::TokenCounts counts;
    counts.file_id = file.id;
    counts.tokenizer_fingerprint = model.tokenizer_fingerprint;
    counts.rows = static_cast<std::int64_t>(row_tokens.size());
    counts.tokens = std::accumulate(row_tokens.begin(), row_tokens.end(), std::int64_t{0});
    counts.supervised_tokens = counts.tokens / 2;
    const auto longest = std::max_element(row_tokens.begin(), row_tokens.end());
    counts.longest_tokens = *longest;
    counts.longest_line = longest - row_tokens.begin() + 1;
    counts.row_tokens = row_tokens;
    base::expects(intake.put_counts(lease, counts), "the lease holds");
    base::expects(intake.finish(lease, storage::FileStatus::kProcessed, std::nullopt, {{"rows", counts.rows}}),
                  "the lease holds");
    return *storage::FileStore(tx).find(file.id);
  });
}

storage::NewJob new_job(const storage::Project& project, const storage::BaseModel& base_model, const storage::File& file,
                        std::int64_t epochs) {
  storage::NewJob job;
  job.id = base::make_id("ftjob");
  job.project_id = project.id;
  job.organization_id = project.organization_id;
  job.model = base_model.name;
  job.base_model = base_model.name;
  job.training_file = file.id;
  const boost::json::object hyperparameters{{"n_epochs", epochs}, {"batch_size", 4}};
  job.hyperparameters = hyperparameters;
  job.method = boost::json::object{
      {"type", "supervised"}, {"supervised", boost::json::object{{"hyperparameters", hyperparameters}}}};
  job.seed = 7;
  return job;
}

void give_credit(postgres::Pool& pool, const storage::Project& project, std::int64_t nano) {
  pool.transact(Scope::system(), [&](Transaction& tx) {
    billing::Ledger(tx).credit(base::make_uuid(), project.id, {nano}, "test credit");
  });
}

}  // namespace finetuned::tests
