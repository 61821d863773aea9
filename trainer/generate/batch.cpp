#include "trainer/generate/batch.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/errors.h"

namespace finetuned::generate {

namespace {

void check(std::span<const std::int32_t> ids, const Request& request, std::int64_t vocabulary, std::int64_t context) {
  check_sampling(request.sampling);
  if (ids.empty()) throw base::UsageError("the prompt is empty; give at least one token, e.g. the BOS token");
  if (ids.size() >= static_cast<std::size_t>(context))
    throw base::UsageError("the prompt has " + std::to_string(ids.size()) + " tokens and the model's context " +
                           std::to_string(context) + "; shorten the prompt");
  for (const std::int32_t id : ids)
    if (id < 0 || id >= vocabulary)
      throw base::UsageError("token id " + std::to_string(id) + " is not in the vocabulary of " + std::to_string(vocabulary));
}

}  // namespace

std::size_t room_of(std::size_t prompt_tokens, const Request& request, std::int64_t context) {
  return std::min(static_cast<std::size_t>(context) - prompt_tokens,
                  static_cast<std::size_t>(std::max<std::int64_t>(0, request.max_tokens)));
}

template <class Device>
Batch<Device>::Batch(model::Transformer<Device>& model, std::int64_t sequences, std::int64_t most_tokens,
                     std::uint64_t cache_bytes)
    : model_(model),
      places_(static_cast<std::size_t>(std::min(sequences, model.most_continuations()))),
      cache_(model.device(), model.config(), static_cast<std::int64_t>(places_.size()),
             std::min(most_tokens, model.max_positions()), cache_bytes),
      logits_(places_.size() * static_cast<std::size_t>(model.config().vocab_size)) {}

template <class Device>
std::uint64_t Batch<Device>::add(std::span<const std::int32_t> ids, const Request& request) {
  // A prompt may fill the cache where the model could go on and no token is wanted.
  check(ids, request, model_.config().vocab_size, std::min(model_.max_positions(), cache_.capacity + 1));
  Prompt prompt;
  prompt.ticket = next_ticket_++;
  prompt.ids.assign(ids.begin(), ids.end());
  prompt.prompt_size = ids.size();
  prompt.room = room_of(ids.size(), request, cache_.capacity);
  prompt.request = request;
  waiting_.push_back(std::move(prompt));
  return waiting_.back().ticket;
}

template <class Device>
bool Batch<Device>::cancel(std::uint64_t ticket) {
  for (std::size_t place = 0; place < places_.size(); ++place) {
    if (!places_[place].taken || places_[place].prompt.ticket != ticket) continue;
    free(place);
    return true;
  }
  const auto found = std::find_if(waiting_.begin(), waiting_.end(), [&](const Prompt& one) { return one.ticket == ticket; });
  if (found == waiting_.end()) return false;
  waiting_.erase(found);
  return true;
}

template <class Device>
std::size_t Batch<Device>::running() const {
  return static_cast<std::size_t>(std::count_if(places_.begin(), places_.end(), [](const Place& place) { return place.taken; }));
}

template <class Device>
void Batch<Device>::free(std::size_t place) {
  places_[place].taken = false;
  cache_.clear(static_cast<std::int64_t>(place));
}

template <class Device>
void Batch<Device>::end(std::size_t place, Finish finish, const BatchListener& listener) {
  free(place);
  if (listener.on_end) listener.on_end(places_[place].prompt.ticket, finish);
}

template <class Device>
void Batch<Device>::seat(const BatchListener& listener) {
  for (std::size_t place = 0; place < places_.size(); ++place) {
    if (places_[place].taken) continue;
    while (!waiting_.empty() && waiting_.front().room == 0) {
      const std::uint64_t ticket = waiting_.front().ticket;
      waiting_.pop_front();
      if (listener.on_end) listener.on_end(ticket, Finish::kLength);
    }
    if (waiting_.empty()) return;
    const Prompt& next = waiting_.front();
    if (!cache_.reserve(static_cast<std::int64_t>(place), static_cast<std::int64_t>(next.prompt_size + next.room))) return;
    places_[place] = {true, std::move(waiting_.front())};
    waiting_.pop_front();
  }
}

template <class Device>
bool Batch<Device>::step(const BatchListener& listener) {
  seat(listener);
  next_.clear();
  std::size_t left = static_cast<std::size_t>(model_.settings().max_tokens);
  for (const bool decoding : {true, false}) {
    for (std::size_t place = 0; place < places_.size(); ++place) {
      if (!places_[place].taken || left == 0) continue;
      const auto rest = std::span<const std::int32_t>(places_[place].prompt.ids)
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
    if (static_cast<std::size_t>(cache_.lengths[place]) == places_[place].prompt.ids.size())
      choose(place, logits.subspan(i * vocabulary, vocabulary), listener);
  }
  return true;
}

template <class Device>
void Batch<Device>::choose(std::size_t place, std::span<const Wide> logits, const BatchListener& listener) {
  Prompt& at = places_[place].prompt;
  if (!std::all_of(logits.begin(), logits.end(), [](Wide logit) { return std::isfinite(logit); })) {
    free(place);
    if (listener.on_broken) listener.on_broken(at.ticket);
    return;
  }
  Token token;
  token.id = choose_token<Wide>(at.request.sampling, at.ids.size() - at.prompt_size, logits, order_);
  const auto& stops = at.request.stop_ids;
  if (std::find(stops.begin(), stops.end(), token.id) != stops.end()) return end(place, Finish::kStop, listener);
  if (at.request.log_probabilities)
    token.log_probabilities = log_probabilities<Wide>(logits, token.id, *at.request.log_probabilities);
  at.ids.push_back(token.id);
  if (listener.on_token) listener.on_token(at.ticket, token);
  if (at.ids.size() - at.prompt_size == at.room) return end(place, Finish::kLength, listener);
  if (!at.request.use_cache) cache_.lengths[place] = 0;
}

template class Batch<tensor::Cpu>;
template class Batch<tensor::Reference>;
template class Batch<tensor::Cuda>;

}  // namespace finetuned::generate
