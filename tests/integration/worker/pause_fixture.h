#pragma once

#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "services/intake/expiry_sweep.h"
#include "tests/integration/worker/worker_fixture.h"

namespace finetuned::worker {

/// Long enough to be stopped on its way, over and over; with checkpoints, and with dropout.
inline json::object long_run() {
  json::object made = settings(10, 2);
  made["lora_dropout"] = 0.1;
  return made;
}

/// Jobs that are stopped on their way, and what they must give all the same.
class PauseTest : public WorkerTest {
 protected:
  PauseTest() {  // a step takes a few milliseconds: what is asked for shall find the run on its way
    options_.link.flush = std::chrono::milliseconds(20);
    options_.link.peek = std::chrono::milliseconds(20);
  }

  storage::Job create(const json::object& how) { return create_job(how, 40); }
  /// Trains for seconds before its first checkpoint.
  storage::Job create_without_checkpoints() { return create_job(settings(1, 1), 600); }

  void ask(const std::string& id, std::optional<storage::Job> (storage::JobStore::*what)(const std::string&)) {
    tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) { (storage::JobStore(tx).*what)(id); });
  }

  /// Runs the job until its row tells `step`, then asks for a pause. The job as it is then.
  storage::Job run_and_pause(const std::string& id, std::int64_t step) {
    {
      std::jthread worker([&] { run_one(); });
      EXPECT_TRUE(tests::eventually([&] { return job(id).step >= step; }, 60));
      ask(id, &storage::JobStore::request_pause);
    }
    return job(id);
  }

  /// What became of another job of the same settings, seed and rows that nobody stopped.
  void expect_bytes_of(const std::string& stopped, const std::string& whole) {
    ASSERT_EQ(job(stopped).state, JobState::kSucceeded);
    ASSERT_EQ(job(whole).state, JobState::kSucceeded);
    for (const char* name : {"adapter_model.safetensors", "adapter_config.json", "step_metrics.csv", "manifest.json"}) {
      const std::string bytes = result(whole, name);
      EXPECT_FALSE(bytes.empty());
      EXPECT_EQ(result(stopped, name), bytes) << name;
    }
  }

  void expect_paid_in_full(const storage::Job& created, std::int64_t jobs) {
    EXPECT_EQ(job(created.id).trained_tokens, created.quoted_tokens);
    EXPECT_EQ(balance().spent.value, jobs * *created.quoted_tokens * 1'000);
    EXPECT_EQ(balance().held.value, 0);
    EXPECT_THAT(ledger_faults(), testing::IsEmpty());
  }

  std::vector<std::string> messages(const std::string& id) {
    std::vector<std::string> texts;
    for (const auto& event : events(id)) texts.push_back(event.message);
    return texts;
  }

  std::vector<std::int64_t> steps_told(const std::string& id) {
    std::vector<std::int64_t> steps;
    for (const auto& event : events(id))
      if (event.is_metrics) steps.push_back(event.data.at("step").as_int64());
    return steps;
  }

  bool has_object(const std::string& id) {
    try {
      data_.store().open(id);
      return true;
    } catch (const objects::ObjectMissing&) {
      return false;
    }
  }

  void sweep_objects() { intake::ExpirySweep(tests::pool(), data_.store(), std::chrono::milliseconds(1)).sweep_once(); }

  /// The object's file in the store.
  fs::path file_of(const std::string& object) const {
    for (const auto& entry : fs::recursive_directory_iterator(data_.path()))
      if (entry.is_regular_file() && entry.path().parent_path().filename().string() + entry.path().filename().string() == object)
        return entry.path();
    return {};
  }
};

}  // namespace finetuned::worker
