#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// What a donated worker said of its run at a step, in the commit that it said it in: it cannot say something else later.
struct Evidence {
  enum class Kind { kState, kCheckpoint, kResult };
  Kind kind = Kind::kState;
  std::int64_t step = 0;
  std::int64_t trained_tokens = 0;
  std::string sha256;  ///< hex: of a state what it was trained to (training::trained_sha256), else of adapter_model.safetensors
  std::optional<std::string> object_id;  ///< of a state, while it is kept
};
std::string to_string(Evidence::Kind kind);  ///< `state`, `checkpoint`, `result`

/// How a run goes through the model, which decides its bits where it begins anew.
struct RunLayout {
  std::int64_t micro_batch_tokens = 0;
  bool recompute = false;
};

/// The evidence of stretches (donation_store.h). States that it names stay in the object store until their stretch is decided, or
/// until thin() drops them (removal_store.h).
class DonationEvidence {
 public:
  explicit DonationEvidence(postgres::Transaction& tx) : tx_(tx) {}

  static constexpr int kMostStates = 32;  ///< of a stretch, that are kept

  /// In the transaction that commits what it says, under the stretch's lease. Said again for a kind and step it stays as it
  /// was; another hash for them throws std::runtime_error. A state that its job does not go on from is none, and is not added.
  void add(const std::string& stretch_id, const Evidence& said);
  void set_layout(const std::string& stretch_id, const RunLayout& layout);
  /// The run could not go on from where the stretch began: it begins with the job.
  void begin_anew(const std::string& stretch_id);

  /// In the order of their steps.
  std::vector<Evidence> of(const std::string& stretch_id);

  /// Drops the states of a stretch but that of the step `but_for`, of which nobody else needs the object. The job is locked.
  void drop_states(const std::string& stretch_id, std::int64_t but_for);
  /// Of a stretch that is decided: nothing of it is needed any more. The job is locked.
  void let_go(const std::string& stretch_id);
  /// Drops states beyond kMostStates, drawn by lot, of the stretch that has most too many. False where none has. System scope.
  bool thin();

 private:
  void drop(const std::string& stretch_id, const std::string& job_id, const std::vector<std::string>& objects);
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
