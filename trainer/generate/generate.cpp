#include "trainer/generate/generate.h"

#include <algorithm>
#include <string>

#include "base/errors.h"
#include "trainer/generate/batch.h"

namespace finetuned::generate {

namespace {

/// What the longest of them may reach.
std::int64_t longest_of(std::span<const Prompt> prompts, std::int64_t context) {
  std::size_t longest = 1;
  for (const Prompt& prompt : prompts) {
    const std::size_t size = std::min(prompt.ids.size(), static_cast<std::size_t>(context));
    longest = std::max(longest, size + room_of(size, prompt.request, context));
  }
  return static_cast<std::int64_t>(longest);
}

}  // namespace

template <class Device>
std::vector<Answer> generate_together(model::Transformer<Device>& model, std::span<const Prompt> prompts,
                                      const Listener& listener, std::uint64_t cache_bytes) {
  if (prompts.empty()) return {};
  Batch<Device> batch(model, static_cast<std::int64_t>(prompts.size()), longest_of(prompts, model.max_positions()), cache_bytes);
  for (const Prompt& prompt : prompts) batch.add(prompt.ids, prompt.request);  // its tickets are the prompts' indices
  std::vector<Answer> answers(prompts.size());
  BatchListener heard;
  heard.on_token = [&](std::uint64_t prompt, const Token& token) {
    answers[prompt].ids.push_back(token.id);
    if (listener.on_token) listener.on_token(prompt, token.id);
  };
  heard.on_end = [&](std::uint64_t prompt, Finish finish) {
    answers[prompt].finish = finish;
    if (listener.on_answer) listener.on_answer(prompt, answers[prompt]);
  };
  heard.on_broken = [](std::uint64_t) {
    throw base::UsageError("the model's logits are not numbers: its weights, or the adapter's, are damaged or too large");
  };
  while (batch.step(heard)) {
  }
  return answers;
}

template <class Device>
Answer generate(model::Transformer<Device>& model, std::span<const std::int32_t> prompt,
                const Request& request, const std::function<void(std::int32_t)>& on_token) {
  const Prompt one{prompt, request};
  Listener listener;
  if (on_token) listener.on_token = [&on_token](std::size_t, std::int32_t id) { on_token(id); };
  return generate_together(model, std::span<const Prompt>(&one, 1), listener).front();
}

template Answer generate(model::Transformer<tensor::Cpu>&, std::span<const std::int32_t>, const Request&,
                         const std::function<void(std::int32_t)>&);
template Answer generate(model::Transformer<tensor::Reference>&, std::span<const std::int32_t>,
                         const Request&, const std::function<void(std::int32_t)>&);
template Answer generate(model::Transformer<tensor::Cuda>&, std::span<const std::int32_t>, const Request&,
                         const std::function<void(std::int32_t)>&);
template std::vector<Answer> generate_together(model::Transformer<tensor::Cuda>&, std::span<const Prompt>,
                                               const Listener&, std::uint64_t);
template std::vector<Answer> generate_together(model::Transformer<tensor::Cpu>&, std::span<const Prompt>,
                                               const Listener&, std::uint64_t);

}  // namespace finetuned::generate
