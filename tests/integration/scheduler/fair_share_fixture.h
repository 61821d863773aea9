#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "storage/fair_share.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/quota_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::scheduler {

using postgres::Scope;
using postgres::Transaction;
using storage::JobLease;
using storage::JobLeases;
using storage::JobState;
using storage::JobStore;

/// Projects with queued jobs, a fresh virtual clock, and a claim's ways.
class FairShareTest : public testing::Test {
 protected:
  template <class Work>
  static auto system(Work work) {
    return tests::pool().transact(Scope::system(), work);
  }

  FairShareTest() : model_(tests::make_base_model(tests::pool())) {
    system([](Transaction& tx) {  // what other tests left waiting
      tx.execute("UPDATE job SET state = 'cancelled', lease_until = NULL, finished_at = clock_timestamp()"
                 " WHERE finished_at IS NULL");
      tx.execute("DELETE FROM project_share");
      tx.execute("DELETE FROM worker");
      tx.execute("UPDATE share_clock SET tag = 0");
    });
  }

  /// Its id; `running_jobs`: as many at once.
  std::string make_project(std::int64_t weight = 1, std::optional<std::int64_t> running_jobs = std::nullopt) {
    const storage::Project project = tests::make_project(tests::pool());
    system([&](Transaction& tx) {
      storage::QuotaStore(tx).put(project.id, {std::nullopt, running_jobs, std::nullopt, std::nullopt, weight});
    });
    files_.emplace(project.id, std::pair(project, tests::make_file(tests::pool(), project)));
    return project.id;
  }

  /// Queues a job of so many tokens for each element. Their ids.
  std::vector<std::string> queue(const std::string& project, const std::vector<std::int64_t>& tokens, int priority = 0) {
    const auto& [owner, file] = files_.at(project);
    storage::NewJob first = tests::new_job(owner, model_, file);
    first.priority = priority;
    return tests::pool().transact(Scope::project(project), [&](Transaction& tx) {
      JobStore(tx).insert(first);
      JobStore(tx).admit(first.id, {1, tokens.front(), 0, std::nullopt});
      std::vector<std::string> ids{first.id}, others;
      for (std::size_t i = 1; i < tokens.size(); ++i) others.push_back(std::to_string(tokens[i]));
      const auto rows = tx.execute(kSame, {first.id, postgres::Value::texts(others)});
      for (std::size_t i = 0; i < rows.size(); ++i) ids.push_back(rows.row(i).text("id"));
      return ids;
    });
  }
  std::string queue_one(const std::string& project, std::int64_t tokens = 1'000, int priority = 0) {
    return queue(project, {tokens}, priority).front();
  }

  static std::optional<storage::ClaimedJob> claim(const std::string& worker = "worker") {
    return system([&](Transaction& tx) { return JobLeases(tx).claim(worker, 60); });
  }

  /// Claims a job and trains all of it at once. Its row as it was claimed.
  static std::optional<storage::Job> run_one() {
    return system([](Transaction& tx) -> std::optional<storage::Job> {
      JobLeases leases(tx);
      const auto claimed = leases.claim("worker", 60);
      if (!claimed) return std::nullopt;
      EXPECT_TRUE(leases.succeed(claimed->lease, "ft:" + claimed->job.id, {}, *claimed->job.quoted_tokens));
      return claimed->job;
    });
  }

  /// The project's tag, 0 before its first run.
  static double tag(const std::string& project) {
    return system([&](Transaction& tx) {
      const auto rows = tx.execute("SELECT tag::double precision AS tag FROM project_share WHERE project_id = $1", {project});
      return rows.empty() ? 0.0 : rows.row(0).real("tag");
    });
  }

  static storage::Job job(const std::string& id) {
    return system([&](Transaction& tx) { return *JobStore(tx).find(id); });
  }

  /// As though the job had been queued, or its project served, so much earlier.
  static void age(const std::string& id, const std::string& by) {
    system([&](Transaction& tx) {
      tx.execute("UPDATE job SET queued_at = queued_at - $2::interval, turn_at = turn_at - $2::interval WHERE id = $1", {id, by});
    });
  }

  /// More of the same job, at once: for long queues.
  static constexpr char kSame[] =
      "INSERT INTO job (id, project_id, organization_id, model, base_model, state, training_file, hyperparameters, method, seed,"
      " priority, queued_at, turn_at, price_version, quoted_tokens, quoted_nano)"
      " SELECT 'ftjob-' || replace(gen_random_uuid()::text, '-', ''), project_id, organization_id, model, base_model, state,"
      " training_file, hyperparameters, method, seed, priority, queued_at, turn_at, price_version, more.tokens, quoted_nano"
      " FROM job, unnest($2::bigint[]) WITH ORDINALITY AS more(tokens, place) WHERE id = $1 ORDER BY place RETURNING id";

  storage::BaseModel model_;
  std::map<std::string, std::pair<storage::Project, storage::File>> files_;
};

}  // namespace finetuned::scheduler
