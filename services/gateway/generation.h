#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "billing/inference_charge.h"
#include "services/gateway/http.h"
#include "services/gateway/inference_link.h"
#include "services/gateway/limits.h"
#include "services/gateway/slots.h"
#include "services/inference/directory.h"
#include "services/inference/wire.h"
#include "storage/inference_usage_store.h"

namespace finetuned::postgres {
class Pool;
}

namespace finetuned::gateway {

/// Where generations go, and how many there may be at once. Thread-safe; outlives them.
struct Generations {
  Generations(inference::Directory& workers, std::size_t most, std::chrono::seconds longest_time);

  inference::Directory& directory;
  const std::chrono::seconds longest;
  Slots of_all, of_project;  ///< a project may take a quarter of all
};

/// A refusal that says when to try again.
struct TryLater : base::ApiError {
  std::chrono::seconds retry_after;
  TryLater(int status, std::string type, std::string code, const std::string& message, std::chrono::seconds after);
};

/// A place in Generations for a project. Throws TryLater 429 `too_many_generations` where there is none.
struct GenerationPlace {
  GenerationPlace(Generations& generations, const std::string& project_id);
  Slots::Slot of_all, of_project;
};

/// Who pays for an answer, and by what. Its tokens are counted by the Generation.
struct GenerationBill {
  storage::InferenceUsage usage;
  billing::InferenceTerms terms;
  std::optional<billing::InferenceHold> hold;
};

/// A request that a worker of the inference service works on. A worker that is full, or gone, is passed over for the next
/// one as long as nothing of the answer has come. What the answer took is written down and charged at its end, and when this is
/// destroyed before it. One thread at a time; nothing waits for a worker.
class Generation {
 public:
  /// `bill` and `tokens` are settled by what the answer took. `pool` and `generations` outlive this.
  Generation(postgres::Pool& pool, Generations& generations, GenerationPlace place, inference::InferenceRequest request,
             GenerationBill bill, TakenTokens tokens);
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  /// The lines of the answer that have come since; Done is the last. Throws ApiError:
  ///  - what the worker refuses the request with (400, such as `context_length_exceeded`);
  ///  - 429 `engine_overloaded` where all workers are full, 503 `model_not_available` where there is none (both TryLater);
  ///  - 504 `generation_timeout` after Generations::longest;
  ///  - 500 `generation_failed` where a worker went away in the middle of the answer.
  std::vector<inference::AnswerLine> read();
  Wait wait() const;

 private:
  std::vector<inference::AnswerLine> ask_workers();
  void connect_next();
  void take_begun(std::vector<inference::AnswerLine>& lines);
  void note(std::vector<inference::AnswerLine>& lines);
  void count_the_rest() noexcept;
  void settle();
  [[noreturn]] void give_up() const;

  postgres::Pool& pool_;
  const GenerationPlace place_;
  inference::InferenceRequest request_;
  GenerationBill bill_;
  storage::InferenceUsage& usage_ = bill_.usage;
  TakenTokens tokens_;
  const std::chrono::steady_clock::time_point deadline_;
  std::vector<inference::Advertisement> workers_;  ///< the ones to try, the last one first
  int lost_ = 0;                             ///< workers that went away over this request
  std::optional<inference::Failure> refusal_;  ///< the last one's, that may be another worker's no longer
  std::unique_ptr<InferenceLink> link_;
  std::string worker_;  ///< its name
  std::optional<inference::Failure> failure_;  ///< came behind lines that are told first
  bool taken_up_ = false;  ///< a model works on it: what it takes counts
  bool begun_ = false;     ///< something of the answer has come
  bool settled_ = false;
};

}  // namespace finetuned::gateway
