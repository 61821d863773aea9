#include "trainer/generate/generate.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/errors.h"

namespace finetuned::generate {

namespace {

template <class Device>
void check(const model::Transformer<Device>& model, const Prompt& prompt) {
  check_sampling(prompt.request.sampling);
  const auto context = static_cast<std::size_t>(model.max_positions());
  if (prompt.ids.empty())
    throw base::UsageError("the prompt is empty; give at least one token, e.g. the BOS token");
  if (prompt.ids.size() >= context)
    throw base::UsageError("the prompt has " + std::to_string(prompt.ids.size()) +
                           " tokens and the model's context " + std::to_string(context) +
                           "; shorten the prompt");
  for (const std::int32_t id : prompt.ids)
    if (id < 0 || id >= model.config().vocab_size)
      throw base::UsageError("token id " + std::to_string(id) + " is not in the vocabulary of " +
                             std::to_string(model.config().vocab_size));
}

/// New tokens that a prompt has room for.
std::size_t room_of(const Prompt& prompt, std::int64_t context) {
  return std::min(static_cast<std::size_t>(context) - prompt.ids.size(),
                  static_cast<std::size_t>(std::max<std::int64_t>(0, prompt.request.max_tokens)));
}

std::int64_t longest_of(std::span<const Prompt> prompts, std::int64_t context) {
  std::size_t longest = 0;
  for (const Prompt& prompt : prompts)
    longest = std::max(longest, prompt.ids.size() + room_of(prompt, context));
  return static_cast<std::int64_t>(longest);
}

/// Several prompts on one model and one cache, whose sequences they take by turns.
template <class Device>
class Together {
 public:
  using Wide = typename Device::Wide;

  Together(model::Transformer<Device>& model, std::span<const Prompt> prompts, const Listener& listener, std::uint64_t cache_bytes)
      : model_(model),
        prompts_(prompts),
        listener_(listener),
        places_(std::min(prompts.size(), static_cast<std::size_t>(model.most_continuations()))),
        cache_(model.device(), model.config(), static_cast<std::int64_t>(places_.size()),
               longest_of(prompts, model.max_positions()), cache_bytes),
        logits_(places_.size() * static_cast<std::size_t>(model.config().vocab_size)),
        answers_(prompts.size()) {}

  std::vector<Answer> run() {
    seat();
    while (step()) {
    }
    return std::move(answers_);
  }

 private:
  /// A sequence of the cache, and the prompt that has it.
  struct Place {
    bool taken = false;
    std::size_t prompt = 0;
    std::vector<std::int32_t> ids;  ///< the prompt and its answer so far
  };

  void tell(std::size_t prompt) {
    if (listener_.on_answer) listener_.on_answer(prompt, answers_[prompt]);
  }

  /// Its answer is whole.
  void end(std::size_t place) {
    tell(places_[place].prompt);
    places_[place].taken = false;
    cache_.clear(static_cast<std::int64_t>(place));
    seat();
  }

  /// Gives free places to the next prompts, as long as the cache has room for the whole of each.
  void seat() {
    for (std::size_t place = 0; place < places_.size(); ++place) {
      Place& at = places_[place];
      if (at.taken) continue;
      while (next_prompt_ < prompts_.size() && room_of(prompts_[next_prompt_], model_.max_positions()) == 0)
        tell(next_prompt_++);
      if (next_prompt_ == prompts_.size()) return;
      const Prompt& next = prompts_[next_prompt_];
      const auto whole = static_cast<std::int64_t>(next.ids.size() + room_of(next, model_.max_positions()));
      if (!cache_.reserve(static_cast<std::int64_t>(place), whole)) return;
      at.taken = true;
      at.prompt = next_prompt_++;
      at.ids.assign(next.ids.begin(), next.ids.end());
    }
  }

  /// Runs what the cache does not hold yet, as much as fits the model at once: first what waits for one
  /// token, so that no prompt's length holds the others up. False where nothing is left to do.
  bool step() {
    next_.clear();
    std::size_t left = static_cast<std::size_t>(model_.settings().max_tokens);
    for (const bool decoding : {true, false}) {
      for (std::size_t place = 0; place < places_.size(); ++place) {
        if (!places_[place].taken || left == 0) continue;
        const auto rest = std::span<const std::int32_t>(places_[place].ids)
                              .subspan(static_cast<std::size_t>(cache_.lengths[place]));
        if ((rest.size() == 1) != decoding) continue;
        next_.push_back({static_cast<std::int64_t>(place), rest.first(std::min(left, rest.size()))});
        left -= next_.back().tokens.size();
      }
    }
    if (next_.empty()) return false;
    const auto vocabulary = static_cast<std::size_t>(model_.config().vocab_size);
    const auto logits = std::span<Wide>(logits_).first(next_.size() * vocabulary);
    model_.extend(next_, cache_, logits);
    for (std::size_t i = 0; i < next_.size(); ++i) {
      const auto place = static_cast<std::size_t>(next_[i].sequence);
      if (static_cast<std::size_t>(cache_.lengths[place]) == places_[place].ids.size())
        choose(place, logits.subspan(i * vocabulary, vocabulary));
    }
    return true;
  }

  void choose(std::size_t place, std::span<const Wide> logits) {
    Place& at = places_[place];
    const Request& request = prompts_[at.prompt].request;
    Answer& answer = answers_[at.prompt];
    if (!std::all_of(logits.begin(), logits.end(), [](Wide logit) { return std::isfinite(logit); }))
      throw base::UsageError(
          "the model's logits are not numbers: its weights, or the adapter's, are damaged or too large");
    const std::int32_t id = choose_token<Wide>(request.sampling, answer.ids.size(), logits, order_);
    if (std::find(request.stop_ids.begin(), request.stop_ids.end(), id) != request.stop_ids.end()) {
      answer.finish = Finish::kStop;
      return end(place);
    }
    at.ids.push_back(id);
    answer.ids.push_back(id);
    if (listener_.on_token) listener_.on_token(at.prompt, id);
    if (answer.ids.size() == room_of(prompts_[at.prompt], model_.max_positions())) return end(place);
    if (!request.use_cache) cache_.lengths[place] = 0;
  }

  model::Transformer<Device>& model_;
  std::span<const Prompt> prompts_;
  const Listener& listener_;
  std::vector<Place> places_;
  model::KvCache<Device> cache_;
  std::vector<Wide> logits_;
  std::vector<Answer> answers_;
  std::size_t next_prompt_ = 0;
  std::vector<model::Continuation> next_;
  std::vector<std::int32_t> order_;
};

}  // namespace

template <class Device>
std::vector<Answer> generate_together(model::Transformer<Device>& model, std::span<const Prompt> prompts,
                                      const Listener& listener, std::uint64_t cache_bytes) {
  for (const Prompt& prompt : prompts)
    check(model, prompt);
  if (prompts.empty()) return {};
  return Together<Device>(model, prompts, listener, cache_bytes).run();
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
