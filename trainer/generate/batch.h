#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "trainer/generate/log_probabilities.h"
#include "trainer/generate/request.h"
#include "trainer/model/transformer.h"

namespace finetuned::generate {

/// A new token of an answer.
struct Token {
  std::int32_t id = 0;
  LogProbabilities log_probabilities;  ///< zero and empty where the request has no `log_probabilities`
};

/// Hears of each prompt by its ticket. Any may be empty; none may call the batch. What one throws leaves step(), and the
/// batch is then good for destruction only.
struct BatchListener {
  std::function<void(std::uint64_t, const Token&)> on_token;
  std::function<void(std::uint64_t, Finish)> on_end;
  std::function<void(std::uint64_t)> on_broken;  ///< its logits are not finite, as damaged weights make them: it has ended
};

/// Prompts that are continued side by side on one model and one cache: each weight is read once for all of them. They join
/// and leave between any two steps, and each gets bit for bit what it gets alone (on a GPU: docs/gpu.md). One that joins
/// waits until a sequence is free and the cache has room for all of it, in the order of joining. Not for two threads at once.
template <class Device>
class Batch {
 public:
  /// `model` outlives this, and its adapter stays as it is while prompts run. `sequences` are continued together, at most
  /// model.most_continuations(); each may reach `most_tokens`, its prompt among them. Their caches take up to `cache_bytes`,
  /// or one sequence's where that is more.
  Batch(model::Transformer<Device>& model, std::int64_t sequences, std::int64_t most_tokens, std::uint64_t cache_bytes);

  /// Throws UsageError as generate() does. `ids` are copied. Tickets are 0, 1, 2, ...
  std::uint64_t add(std::span<const std::int32_t> ids, const Request& request);
  /// Nothing more is heard of it; its place is free. False where it has ended.
  bool cancel(std::uint64_t ticket);
  /// Gives free sequences to those that wait, and runs what the cache does not hold yet, as much as fits the model at once:
  /// first what waits for one token, so that no prompt's length holds the others up. False where nothing is left to do.
  bool step(const BatchListener& listener);

  std::size_t sequences() const { return places_.size(); }
  std::size_t running() const;  ///< that have a sequence
  std::size_t waiting() const { return waiting_.size(); }

 private:
  using Wide = typename Device::Wide;

  struct Prompt {
    std::uint64_t ticket = 0;
    std::vector<std::int32_t> ids;  ///< the prompt and its answer so far
    std::size_t prompt_size = 0;
    std::size_t room = 0;  ///< new tokens at most
    Request request;
  };
  struct Place {
    bool taken = false;
    Prompt prompt;
  };

  void seat(const BatchListener& listener);
  void free(std::size_t place);
  void end(std::size_t place, Finish finish, const BatchListener& listener);
  void choose(std::size_t place, std::span<const Wide> logits, const BatchListener& listener);

  model::Transformer<Device>& model_;
  std::vector<Place> places_;
  model::KvCache<Device> cache_;
  std::vector<Wide> logits_;  // [sequences, vocab_size]
  std::deque<Prompt> waiting_;
  std::uint64_t next_ticket_ = 0;
  std::vector<model::Continuation> next_;
  std::vector<std::int32_t> order_;
};

extern template class Batch<tensor::Cpu>;
extern template class Batch<tensor::Reference>;
extern template class Batch<tensor::Cuda>;

}  // namespace finetuned::generate
