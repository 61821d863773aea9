#pragma once

#include <chrono>
#include <stop_token>

#include "storage/postgres/pool.h"

namespace finetuned::contributions {

/// Moves contributions on (billing/contributions.h): begins verifications, creates their jobs, reads what these measured,
/// decides, awards, vests; and begins the checks of what donated workers did (storage/recheck_store.h). Several may run: each step is one transaction under one advisory lock, and who finds it taken
/// passes the step over. One that dies in a step frees it at once, one that is stopped in it within kStepSeconds.
class Contributions {
 public:
  static constexpr int kStepSeconds = 5;

  /// `pool` outlives this.
  Contributions(postgres::Pool& pool, std::chrono::milliseconds pause) : pool_(pool), pause_(pause) {}

  /// Until `stop`. What the database throws is logged, and tried again.
  void run(const std::stop_token& stop);

  /// Each step, as long as it has something to do. Throws what the database throws.
  void advance();

 private:
  void start_runs();
  template <class Step>
  auto lead(Step step);
  postgres::Pool& pool_;
  std::chrono::milliseconds pause_;
};

}  // namespace finetuned::contributions
