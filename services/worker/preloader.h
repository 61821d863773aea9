#pragma once

#include <stop_token>
#include <string>
#include <thread>

#include "services/worker/resident_bases.h"
#include "storage/postgres/pool.h"

namespace finetuned::worker {

/// While a base is lent to a run: looks twice a second what the next queued job wants, and reads that base
/// where it fits beside the run. One thread, of the lowest priority, which a run waits for a moment only. What goes wrong is logged, once for the
/// state the base is in: it is the job's to meet it.
class Preloader {
 public:
  /// Both outlive this. `pool` needs a connection for this thread.
  Preloader(postgres::Pool& pool, ResidentBases& bases);
  /// Breaks off what is being read, and joins.
  ~Preloader() = default;
  Preloader(const Preloader&) = delete;
  Preloader& operator=(const Preloader&) = delete;

 private:
  void run(const std::stop_token& stop);
  void look(const std::stop_token& stop);

  postgres::Pool& pool_;
  ResidentBases& bases_;
  std::string given_up_;  ///< directory and fingerprint of what could not be read
  std::jthread thread_;
};

}  // namespace finetuned::worker
