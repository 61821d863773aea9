#include "trainer/generate/generate.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/errors.h"

namespace finetuned::generate {

namespace {

/// Runs what the cache does not hold yet, in pieces that fit the model.
template <class Device, class Real>
void catch_up(model::Transformer<Device>& model, std::span<const std::int32_t> ids,
              model::KvCache<Real>& cache, std::span<Real> logits) {
  const auto piece = static_cast<std::size_t>(model.settings().max_tokens);
  while (static_cast<std::size_t>(cache.length) < ids.size()) {
    const auto rest = ids.subspan(static_cast<std::size_t>(cache.length));
    model.extend(rest.first(std::min(piece, rest.size())), cache, logits);
  }
}

}  // namespace

template <class Device>
Answer generate(model::Transformer<Device>& model, std::span<const std::int32_t> prompt,
                const Request& request, const std::function<void(std::int32_t)>& on_token) {
  using Real = typename Device::Real;
  check_sampling(request.sampling);
  const auto context = static_cast<std::size_t>(model.max_positions());
  if (prompt.empty())
    throw base::UsageError("the prompt is empty; give at least one token, e.g. the BOS token");
  if (prompt.size() >= context)
    throw base::UsageError("the prompt has " + std::to_string(prompt.size()) +
                           " tokens and the model's context " + std::to_string(context) +
                           "; shorten the prompt");
  for (const std::int32_t id : prompt)
    if (id < 0 || id >= model.config().vocab_size)
      throw base::UsageError("token id " + std::to_string(id) + " is not in the vocabulary of " +
                             std::to_string(model.config().vocab_size));

  const std::size_t room = std::min(context - prompt.size(),
                                    static_cast<std::size_t>(std::max<std::int64_t>(0, request.max_tokens)));
  std::vector<std::int32_t> ids(prompt.begin(), prompt.end());
  ids.reserve(prompt.size() + room);
  model::KvCache<Real> cache(model.config(), static_cast<std::int64_t>(prompt.size() + room));
  std::vector<Real> logits(static_cast<std::size_t>(model.config().vocab_size));
  std::vector<std::int32_t> order;
  Answer answer;
  for (std::size_t i = 0; i < room; ++i) {
    if (!request.use_cache) cache.length = 0;
    catch_up<Device, Real>(model, ids, cache, logits);
    if (!std::all_of(logits.begin(), logits.end(), [](Real logit) { return std::isfinite(logit); }))
      throw base::UsageError(
          "the model's logits are not numbers: its weights, or the adapter's, are damaged or too large");
    const std::int32_t id = choose_token<Real>(request.sampling, i, logits, order);
    if (std::find(request.stop_ids.begin(), request.stop_ids.end(), id) != request.stop_ids.end()) {
      answer.finish = Finish::kStop;
      return answer;
    }
    ids.push_back(id);
    answer.ids.push_back(id);
    if (on_token) on_token(id);
  }
  return answer;
}

template Answer generate(model::Transformer<tensor::Cpu>&, std::span<const std::int32_t>, const Request&,
                         const std::function<void(std::int32_t)>&);
template Answer generate(model::Transformer<tensor::Reference>&, std::span<const std::int32_t>,
                         const Request&, const std::function<void(std::int32_t)>&);

}  // namespace finetuned::generate
