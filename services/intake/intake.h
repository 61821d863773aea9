#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "services/intake/reading.h"
#include "storage/intake_store.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::storage {
struct BaseModel;
}

namespace finetuned::intake {

struct IntakeOptions {
  std::string owner;                 ///< this process, in leases and logs
  std::int64_t lease_seconds = 60;   ///< a file whose reader died is read again after this
  std::size_t row_bytes = 4u << 20;  ///< longer lines are a fault
  std::size_t kept_faults = 1000;
  int most_attempts = 3;             ///< a file that crashed so many readers is given up with an error
};

/// Checks uploaded datasets and counts their tokens for every registered tokenizer, files read one at a time. The
/// truth is in PostgreSQL: a reader that dies loses its lease, and another reads the file again.
class Intake {
 public:
  /// `pool` and `store` outlive this.
  Intake(postgres::Pool& pool, objects::ObjectStore& store, IntakeOptions options);
  ~Intake();

  /// Until `stop`: checks what waits, then sleeps until wake() or a second has passed. A file being read is let go
  /// at once, for another reader. What the database or the disk throws is logged, and tried again.
  void run(const std::stop_token& stop);

  /// Claims and checks one file. False when none waits. Throws what the database or the disk throws; the file is then
  /// tried again when its lease is over, others go first.
  bool check_one(const std::stop_token& stop);

  /// Something may be waiting. Any thread.
  void wake();

 private:
  struct Waker;

  std::vector<Counter> counters_for(const storage::IntakeClaim& claim, std::vector<storage::TokenCounts>& refused);
  void check(const storage::IntakeClaim& claim, const std::stop_token& stop);
  void give_up(const storage::IntakeClaim& claim);
  void store(const storage::IntakeClaim& claim, const std::vector<storage::TokenCounts>& counts,
             const Reading& reading);

  postgres::Pool& pool_;
  objects::ObjectStore& store_;
  IntakeOptions options_;
  std::map<std::string, std::shared_ptr<const text::RowEncoder>> encoders_;  ///< by fingerprint
  std::unique_ptr<Waker> waker_;
};

}  // namespace finetuned::intake
