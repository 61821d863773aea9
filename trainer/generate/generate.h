#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "trainer/generate/request.h"
#include "trainer/model/transformer.h"

namespace finetuned::generate {

struct Answer {
  std::vector<std::int32_t> ids;  ///< without the prompt
  Finish finish = Finish::kLength;
};

/// Continues `prompt` (>= 1 token, fewer than model.max_positions(), else UsageError; UsageError too where
/// logits are not finite, as damaged weights make them). Works for any mode of the model, with its adapter as
/// it stands. The prompt passes in pieces of the model's max_tokens. `on_token`, where given, hears each new
/// token at once.
template <class Device>
Answer generate(model::Transformer<Device>& model, std::span<const std::int32_t> prompt,
                const Request& request, const std::function<void(std::int32_t)>& on_token = {});

/// One of several prompts to be continued side by side.
struct Prompt {
  std::span<const std::int32_t> ids;
  Request request;
};

/// Hears of several prompts, each by its index, as things happen.
struct Listener {
  std::function<void(std::size_t, std::int32_t)> on_token;  ///< each new token; either may be empty
  std::function<void(std::size_t, const Answer&)> on_answer;  ///< each whole answer, in the order they end
};

/// Continues the prompts together, as many at a time as model.most_continuations(): each weight is read once
/// for all of them, and the next prompt takes the place of a finished one at once, its tokens passing beside
/// the others' decoding. Their caches take up to `cache_bytes`, or one prompt's where that is more: a prompt waits
/// until there is room for all of it. Answers stand in the order of the prompts, and each is bit for bit what
/// generate() gives it alone (on a GPU: docs/gpu.md). Throws as generate().
template <class Device>
std::vector<Answer> generate_together(model::Transformer<Device>& model, std::span<const Prompt> prompts,
                                      const Listener& listener = {},
                                      std::uint64_t cache_bytes = std::numeric_limits<std::uint64_t>::max());

extern template Answer generate(model::Transformer<tensor::Cpu>&, std::span<const std::int32_t>,
                                const Request&, const std::function<void(std::int32_t)>&);
extern template Answer generate(model::Transformer<tensor::Reference>&, std::span<const std::int32_t>,
                                const Request&, const std::function<void(std::int32_t)>&);
extern template Answer generate(model::Transformer<tensor::Cuda>&, std::span<const std::int32_t>,
                                const Request&, const std::function<void(std::int32_t)>&);
extern template std::vector<Answer> generate_together(model::Transformer<tensor::Cuda>&,
                                                      std::span<const Prompt>, const Listener&, std::uint64_t);
extern template std::vector<Answer> generate_together(model::Transformer<tensor::Cpu>&,
                                                      std::span<const Prompt>, const Listener&, std::uint64_t);

}  // namespace finetuned::generate
