#pragma once

#include <chrono>
#include <stop_token>

#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::intake {

/// Ends what is past its time: pending uploads after their hour, files past their `expires_at` that no unfinished job
/// needs, and what ended jobs would have gone on from; and removes the objects that are due (storage::RemovalStore) or that died half-written. The API shows neither
/// file nor upload from its time on, whenever this comes by. Several may run: each row goes to one.
class ExpirySweep {
 public:
  /// `pool` and `store` outlive this.
  ExpirySweep(postgres::Pool& pool, objects::ObjectStore& store, std::chrono::milliseconds pause)
      : pool_(pool), store_(store), pause_(pause) {}

  /// Until `stop`: sweeps, then rests for `pause`. What the database throws is logged, and tried again.
  void run(const std::stop_token& stop);

  /// Everything that is due now, up to a bound. Throws what the database throws; an object that cannot be removed is
  /// logged and tried again in a minute.
  void sweep_once();

 private:
  int expire_uploads();
  int expire_files();
  int drop_states();
  int remove_objects();

  postgres::Pool& pool_;
  objects::ObjectStore& store_;
  std::chrono::milliseconds pause_;
};

}  // namespace finetuned::intake
