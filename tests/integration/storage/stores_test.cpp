#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <thread>

#include "base/ids.h"
#include "storage/intake_store.h"
#include "storage/job_store.h"
#include "storage/key_store.h"
#include "storage/outbox_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned {
namespace {

using postgres::Scope;
using postgres::Transaction;
using tests::pool;

TEST(OrganizationStore, EnsuringTwiceMakesOne) {
  const std::string name = base::make_id("Org");
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::OrganizationStore store(tx);
    const auto organization = store.ensure_organization(name);
    EXPECT_EQ(store.ensure_organization(name).id, organization.id);
    const auto project = store.ensure_project(organization.id, "p");
    EXPECT_EQ(store.ensure_project(organization.id, "p").id, project.id);
    EXPECT_EQ(store.find_project(project.id)->organization_name, name);
    EXPECT_EQ(store.list_projects(organization.id, {}).data.size(), 1u);
  });
}

TEST(KeyStore, OnlyTheLiveSecretOpens) {
  const auto project = tests::make_project(pool());
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::KeyStore keys(tx);
    const auto made = keys.create_project_key(project.id, "laptop");
    EXPECT_TRUE(made.secret.starts_with("sk-ft-"));
    EXPECT_TRUE(made.secret.starts_with(made.key.shown_prefix));
    const auto found = keys.authenticate(made.secret);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->project_id, project.id);
    EXPECT_EQ(found->kind, storage::KeyKind::kProject);
    EXPECT_FALSE(keys.authenticate(made.secret + "x"));
    EXPECT_FALSE(found->last_used_at);
    keys.touch(found->id);
    EXPECT_TRUE(keys.authenticate(made.secret)->last_used_at);
    EXPECT_TRUE(keys.revoke(found->id));
    EXPECT_FALSE(keys.revoke(found->id));
    EXPECT_FALSE(keys.authenticate(made.secret));
    const auto admin = keys.create_admin_key(project.organization_id, "ops");
    EXPECT_EQ(keys.authenticate(admin.secret)->kind, storage::KeyKind::kAdmin);
    EXPECT_EQ(keys.list(project.id, {}).data.size(), 1u);
  });
}

TEST(FileStore, PagesWithoutGapsOrRepeats) {
  const auto project = tests::make_project(pool());
  std::vector<std::string> made;
  for (int i = 0; i < 7; ++i) made.push_back(tests::make_file(pool(), project).id);
  pool().transact(Scope::project(project.id), [&](Transaction& tx) {
    storage::FileStore files(tx);
    std::vector<std::string> seen;
    storage::PageRequest request{.after = std::nullopt, .limit = 3, .ascending = true};
    for (;;) {
      const auto page = files.list(project.id, std::nullopt, request);
      for (const auto& file : page.data) seen.push_back(file.id);
      if (!page.has_more) break;
      request.after = page.data.back().id;
    }
    EXPECT_EQ(seen, made);
    EXPECT_EQ(files.list(project.id, std::nullopt, {.after = std::nullopt, .limit = 1}).data[0].id, made.back());
    EXPECT_TRUE(files.list(project.id, "fine-tune-results", {}).data.empty());
    EXPECT_EQ(files.total_bytes(project.id), 7000);
    EXPECT_THROW(files.list(project.id, std::nullopt, {.after = "file-unknown"}), base::ApiError);
  });
}

TEST(FileStore, RemovingNamesTheObjectWhenNothingElseNeedsIt) {
  const auto project = tests::make_project(pool());
  const auto file = tests::make_file(pool(), project);
  pool().transact(Scope::project(project.id), [&](Transaction& tx) {
    storage::FileStore files(tx);
    const auto removed = files.remove(file.id);
    ASSERT_TRUE(removed);
    EXPECT_EQ(removed->object_to_remove, file.object_id);
    EXPECT_FALSE(files.find(file.id));
    EXPECT_TRUE(files.find_even_deleted(file.id));
    EXPECT_FALSE(files.remove(file.id));
  });
}

TEST(FileStore, AFileOfAnUnfinishedJobStays) {
  const auto project = tests::make_project(pool());
  const auto model = tests::make_base_model(pool());
  const auto file = tests::make_file(pool(), project);
  const auto job = tests::new_job(project, model, file);
  pool().transact(Scope::project(project.id), [&](Transaction& tx) { storage::JobStore(tx).insert(job); });
  const auto remove = [&](Transaction& tx) { return storage::FileStore(tx).remove(file.id).has_value(); };
  EXPECT_THROW(pool().transact(Scope::project(project.id), remove), base::ApiError);
  pool().transact(Scope::project(project.id), [&](Transaction& tx) { storage::JobStore(tx).request_cancel(job.id); });
  EXPECT_TRUE(pool().transact(Scope::project(project.id), remove));
}

TEST(IntakeStore, AClaimGoesToOneAndEndsWithAReport) {
  pool().transact(Scope::system(), [](Transaction& tx) {
    tx.execute("UPDATE file SET deleted_at = clock_timestamp()");  // other tests' files
  });
  const auto project = tests::make_project(pool());
  const auto model = tests::make_base_model(pool());
  const auto file = tests::make_file(pool(), project);
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::IntakeStore intake(tx);
    const auto claim = intake.claim("intake-1", 30);
    ASSERT_TRUE(claim);
    EXPECT_EQ(claim->file.id, file.id);
    EXPECT_TRUE(std::ranges::count(claim->missing_fingerprints, model.tokenizer_fingerprint));
    EXPECT_FALSE(intake.claim("intake-2", 30));
    EXPECT_TRUE(intake.extend(claim->lease, 30));
    const storage::IntakeLease stale{file.id, claim->lease.epoch - 1};
    storage::TokenCounts counts;
    counts.file_id = file.id;
    counts.tokenizer_fingerprint = model.tokenizer_fingerprint;
    counts.rows = 2;
    counts.tokens = 300;
    counts.supervised_tokens = 100;
    counts.longest_tokens = 200;
    counts.longest_line = 2;
    counts.row_tokens = {100, 200};
    EXPECT_FALSE(intake.put_counts(stale, counts));
    EXPECT_TRUE(intake.put_counts(claim->lease, counts));
    for (const std::string& other : claim->missing_fingerprints) {
      if (other == model.tokenizer_fingerprint) continue;
      auto refused = counts;
      refused.tokenizer_fingerprint = other;
      EXPECT_TRUE(intake.put_counts(claim->lease, refused));
    }
    EXPECT_FALSE(intake.finish(stale, storage::FileStatus::kError, "no", {}));
    EXPECT_TRUE(intake.finish(claim->lease, storage::FileStatus::kProcessed, std::nullopt, {{"rows", 2}}));
    EXPECT_FALSE(intake.finish(claim->lease, storage::FileStatus::kError, "again", {})) << "the lease is over";
    EXPECT_EQ(intake.report(file.id)->at("rows").as_int64(), 2);
    EXPECT_EQ(intake.counts(file.id, model.tokenizer_fingerprint, true)->row_tokens, counts.row_tokens);
    EXPECT_TRUE(intake.counts(file.id, model.tokenizer_fingerprint, false)->row_tokens.empty());
    EXPECT_FALSE(intake.claim("intake-1", 30));
  });
  const auto later = tests::make_base_model(pool());
  pool().transact(Scope::system(), [&](Transaction& tx) {
    const auto claim = storage::IntakeStore(tx).claim("intake-1", 30);
    ASSERT_TRUE(claim) << "a model registered later asks for its counts";
    EXPECT_EQ(claim->file.status, storage::FileStatus::kProcessed);
    EXPECT_EQ(claim->missing_fingerprints, std::vector<std::string>{later.tokenizer_fingerprint});
    EXPECT_TRUE(storage::IntakeStore(tx).release(claim->lease));
  });
}

TEST(OutboxStore, EachMessageGoesToOneRelayAndLeavesWhenSent) {
  const auto project = tests::make_project(pool());
  const int kMessages = 40;
  pool().transact(Scope::project(project.id), [&](Transaction& tx) {
    for (int i = 0; i < kMessages; ++i) storage::OutboxStore(tx).add(project.id, "s", std::to_string(i));
  });
  std::mutex mutex;
  std::multiset<std::string> sent;
  {
    std::vector<std::jthread> relays;
    for (int i = 0; i < 4; ++i)
      relays.emplace_back([&] {
        for (bool more = true; more;) {
          std::vector<std::string> mine;
          pool().transact(Scope::system(), [&](Transaction& tx) {
            mine.clear();
            storage::OutboxStore outbox(tx);
            const auto messages = outbox.take(3);
            for (const auto& message : messages)
              if (message.stream == "s") mine.push_back(message.payload);
            outbox.sent(messages);
            more = !messages.empty();
          });
          const std::lock_guard lock(mutex);
          sent.insert(mine.begin(), mine.end());
        }
      });
  }
  EXPECT_EQ(sent.size(), static_cast<std::size_t>(kMessages));
  EXPECT_EQ(std::set<std::string>(sent.begin(), sent.end()).size(), static_cast<std::size_t>(kMessages));
}

TEST(ModelStore, NamesAreTakenOnce) {
  const auto project = tests::make_project(pool());
  auto model = tests::make_base_model(pool());
  const auto file = tests::make_file(pool(), project);
  const auto job = tests::new_job(project, model, file);
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::ModelStore models(tx);
    EXPECT_FALSE(models.add_base(model)) << "the same model again";
    model.sha256 = std::string(64, 'f');
    EXPECT_THROW(models.add_base(model), base::ApiError);
    storage::JobStore(tx).insert(job);
    const storage::FineTunedModel tuned{"ft:" + model.name + ":acme:triage:" + job.id, project.id, job.id, model.name,
                                        {{"adapter_model.safetensors", "o1"}, {"adapter_config.json", "o2"}}, 0};
    models.add_fine_tuned(tuned);
    EXPECT_EQ(models.find_fine_tuned(tuned.name)->objects, tuned.objects);
    EXPECT_EQ(models.list_fine_tuned(project.id).size(), 1u);
    EXPECT_TRUE(models.remove_fine_tuned(tuned.name));
    EXPECT_FALSE(models.find_fine_tuned(tuned.name));
  });
}

}  // namespace
}  // namespace finetuned
