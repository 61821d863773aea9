#include <gtest/gtest.h>

#include "base/ids.h"
#include "storage/inference_usage_store.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/key_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned {
namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::InferenceUsage;
using storage::InferenceUsageStore;
using tests::pool;

struct Spender {
  storage::Project project = tests::make_project(pool());
  std::string key = pool().transact(Scope::system(), [&](Transaction& tx) {
    return storage::KeyStore(tx).create_project_key(project.id, "k").key.id;
  });

  InferenceUsage usage(const std::string& model, std::int64_t prompt, std::int64_t completion) const {
    return {base::make_id("req"), project.id, key, model, prompt, completion, true};
  }
  void add(const InferenceUsage& usage) const {
    pool().transact(Scope::project(project.id), [&](Transaction& tx) { InferenceUsageStore(tx).add(usage); });
  }
  std::vector<storage::UsageSum> sums(const storage::UsageQuery& query) const {
    return pool().transact(Scope::system(), [&](Transaction& tx) {
      return InferenceUsageStore(tx).sums(project.organization_id, query);
    });
  }
};

storage::UsageQuery everything() { return {.start = 0, .end = 4'000'000'000, .bucket_seconds = 86400, .most_sums = 100}; }

TEST(InferenceUsageStore, SumsByWhatIsAskedFor) {
  const Spender spender, other;
  spender.add(spender.usage("a", 10, 1));
  spender.add(spender.usage("a", 20, 2));
  spender.add(spender.usage("b", 40, 4));
  other.add(other.usage("a", 1000, 1000));
  const auto all = spender.sums(everything());
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].prompt_tokens, 70);
  EXPECT_EQ(all[0].completion_tokens, 7);
  EXPECT_EQ(all[0].requests, 3);
  EXPECT_EQ(all[0].bucket % 86400, 0);
  EXPECT_FALSE(all[0].model || all[0].project_id || all[0].api_key_id);
  auto query = everything();
  query.by_model = true;
  const auto by_model = spender.sums(query);
  ASSERT_EQ(by_model.size(), 2u);
  EXPECT_EQ(by_model[0].model, "a");
  EXPECT_EQ(by_model[0].prompt_tokens, 30);
  query.models = {"b"};
  query.by_project = query.by_api_key = true;
  const auto only = spender.sums(query);
  ASSERT_EQ(only.size(), 1u);
  EXPECT_EQ(only[0].project_id, spender.project.id);
  EXPECT_EQ(only[0].api_key_id, spender.key);
  query.project_ids = {other.project.id};
  EXPECT_TRUE(spender.sums(query).empty()) << "another organization's project";
  query.project_ids = {};
  query.most_sums = 0;
  EXPECT_TRUE(spender.sums(query).empty());
}

TEST(InferenceUsageStore, CountsARequestOnceAndForgetsNone) {
  const Spender spender;
  const auto usage = spender.usage("a", 10, 1);
  spender.add(usage);
  spender.add(usage);
  EXPECT_EQ(spender.sums(everything()).at(0).requests, 1);
  for (const char* change : {"UPDATE inference_usage SET prompt_tokens = 0", "DELETE FROM inference_usage"})
    EXPECT_THROW(pool().transact(Scope::system(), [&](Transaction& tx) { tx.execute(change); }), postgres::SqlError);
}

TEST(InferenceUsageStore, RowsAreTheirProjectsAlone) {
  const Spender spender, other;
  spender.add(spender.usage("a", 10, 1));
  const auto seen = [](const storage::Project& project) {
    return pool().transact(Scope::project(project.id), [](Transaction& tx) {
      return tx.execute("SELECT FROM inference_usage").size();
    });
  };
  EXPECT_EQ(seen(spender.project), 1u);
  EXPECT_EQ(seen(other.project), 0u);
  EXPECT_THROW(pool().transact(Scope::project(other.project.id),
                               [&](Transaction& tx) { InferenceUsageStore(tx).add(spender.usage("a", 1, 1)); }),
               postgres::SqlError);
}

/// A job with a model of its own and a checkpoint.
struct Trained {
  storage::Project project = tests::make_project(pool());
  storage::BaseModel base_model = tests::make_base_model(pool());
  storage::File file = tests::make_counted_file(pool(), project, base_model, {10});
  std::string name = "ft:" + base_model.name + ":acme::" + base::make_id("x");
  std::string checkpoint = name + ":ckpt-step-5";

  Trained() {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      const auto job = tests::new_job(project, base_model, file);
      tx.execute("INSERT INTO job (id, project_id, organization_id, model, base_model, state, training_file, hyperparameters,"
                 " method, seed) VALUES ($1, $2, $3, $4, $4, 'validating_files', $5, '{}', '{}', 1)",
                 {job.id, project.id, project.organization_id, base_model.name, file.id});
      tx.execute("INSERT INTO job_checkpoint (id, job_id, project_id, step, trained_tokens, model_name, metrics, objects,"
                 " sha256) VALUES ($1, $2, $3, 5, 1, $4, '{}', '{\"adapter_config.json\":\"o\"}', '{\"adapter_config.json\":\"h\"}')",
                 {base::make_id("ftckpt"), job.id, project.id, checkpoint});
      storage::FineTunedModel model;
      model.name = name;
      model.project_id = project.id;
      model.job_id = job.id;
      model.base_model = base_model.name;
      model.objects = {{"adapter_model.safetensors", file.object_id}};
      storage::ModelStore(tx).add_fine_tuned(model);
    });
  }

  std::optional<storage::ServedModel> served(const std::string& asked, const storage::Project& to) const {
    return pool().transact(Scope::project(to.id), [&](Transaction& tx) { return storage::ModelStore(tx).find_served(asked); });
  }
};

TEST(ServedModels, AreBasesAndTheProjectsOwn) {
  const Trained trained;
  const auto base_alone = trained.served(trained.base_model.name, trained.project);
  ASSERT_TRUE(base_alone);
  EXPECT_EQ(base_alone->base_model, trained.base_model.name);
  EXPECT_TRUE(base_alone->objects.empty());
  const auto tuned = trained.served(trained.name, trained.project);
  ASSERT_TRUE(tuned);
  EXPECT_EQ(tuned->base_model, trained.base_model.name);
  EXPECT_EQ(tuned->objects.at("adapter_model.safetensors"), trained.file.object_id);
  EXPECT_EQ(tuned->sha256.at("adapter_model.safetensors"), trained.file.sha256);
  const auto step = trained.served(trained.checkpoint, trained.project);
  ASSERT_TRUE(step);
  EXPECT_EQ(step->base_model, trained.base_model.name);
  EXPECT_EQ(step->objects.at("adapter_config.json"), "o");
  EXPECT_EQ(step->sha256.at("adapter_config.json"), "h");
  EXPECT_FALSE(trained.served("ft:none", trained.project));
}

TEST(ServedModels, AreNeverAnotherProjects) {
  const Trained trained;
  const auto stranger = tests::make_project(pool());
  EXPECT_FALSE(trained.served(trained.name, stranger));
  EXPECT_FALSE(trained.served(trained.checkpoint, stranger));
}

}  // namespace
}  // namespace finetuned
