#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// All that decides when queued jobs start, as it stands at one moment: what fair_share.h goes by, who works, and how fast.
struct QueueView {
  struct Waiting {
    std::string job_id;
    std::string base_model;
    std::int64_t tokens = 0;  ///< that are still to be trained
    double queued_at = 0;     ///< Unix time, as all times here
    double turn_at = 0;
    std::int64_t seq = 0;
  };
  struct Project {
    std::int64_t weight = 1;
    double lead = 0;  ///< of its tag before the virtual time; less than 0 where it lies behind
    std::optional<std::int64_t> most_running;
    std::int64_t running = 0;
    std::vector<Waiting> waiting;  ///< in the order of their turns
  };
  /// A worker, and the run that it has, if any.
  struct Lane {
    std::string device;
    std::string project_id;              ///< of the run; empty where it has none
    std::optional<double> seconds_left;  ///< of the run, where that can be told
  };

  double now = 0;
  std::map<std::string, Project> projects;  ///< by id: those that have queued or running jobs
  std::vector<Lane> lanes;
  std::map<std::pair<std::string, std::string>, double> tokens_per_second;  ///< by base model and device, of late

  /// What the base trains a second on the device; where it never ran there, its mean on others; nothing where it never ran.
  std::optional<double> speed(const std::string& base_model, const std::string& device) const;
};

constexpr int kMostViewed = 20'000;  ///< jobs; those behind them have no place in a view

/// `project_id`: is in the view even where it has no job. System scope.
QueueView read_queue(postgres::Transaction& tx, const std::optional<std::string>& project_id = std::nullopt);

}  // namespace finetuned::storage
