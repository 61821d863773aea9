#include "services/inference/group.h"

#include <algorithm>

#include "base/log.h"
#include "services/inference/prompts.h"

namespace finetuned::inference {

namespace {

using std::chrono::steady_clock;

std::int64_t milliseconds_between(steady_clock::time_point from, steady_clock::time_point to) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(to - from).count();
}

std::int64_t prompt_tokens(const Call& call) {
  std::size_t tokens = 0;
  for (const auto& prompt : call.prompts) tokens += prompt.size();
  return static_cast<std::int64_t>(tokens);
}

}  // namespace

base::ApiError overloaded(const std::string& why) {
  return {429, "rate_limit_error", "engine_overloaded", why, std::nullopt, true};
}

Group::Group(generate::AnyModel& model, const KnownBase& base, Options options)
    : base_(base), options_(std::move(options)), positions_(model.positions()), batch_(model) {
  listen();
}

void Group::listen() {
  listener_.on_token = [this](std::uint64_t ticket, const generate::Token& token) {
    const Seat seat = seats_.at(ticket);
    seat.member->begun = true;
    Choice& choice = seat.member->choices[seat.choice];
    choice.writer.take(token);
    if (choice.writer.stopped()) stopped_.push_back(ticket);
  };
  listener_.on_end = [this](std::uint64_t ticket, generate::Finish finish) {
    const Seat seat = seats_.at(ticket);
    Choice& choice = seat.member->choices[seat.choice];
    choice.writer.end(finish);
    close(*seat.member, choice);
  };
  listener_.on_broken = [this](std::uint64_t ticket) {
    const Seat seat = seats_.at(ticket);
    close(*seat.member, seat.member->choices[seat.choice]);
    broken_.push_back(seat.member);
  };
}

generate::Request Group::request_of(const Call& call, std::size_t i) const {
  const InferenceRequest& asked = call.request;
  generate::Request request;
  request.max_tokens = std::min(asked.max_tokens.value_or(options_.most_new_tokens), options_.most_new_tokens);
  request.sampling = {asked.temperature, asked.top_p, asked.seed + i};
  request.stop_ids = base_.config.eos_token_ids;
  if (const auto eos = base_.encoder.tokenizer().eos_id()) request.stop_ids.push_back(*eos);
  if (asked.logprobs) request.log_probabilities = static_cast<std::size_t>(*asked.logprobs);
  return request;
}

void Group::add(std::shared_ptr<Call> call) {
  check_context(*call, positions_);
  Member& member = members_.emplace_back();
  member.call = std::move(call);
  member.joined = steady_clock::now();
  member.call->send(Begun{prompt_tokens(*member.call)});
  const auto n = static_cast<std::size_t>(member.call->request.n);
  for (std::size_t k = 0; k < member.call->prompts.size() * n; ++k) {
    const std::uint64_t ticket = batch_.add(member.call->prompts[k / n], request_of(*member.call, k % n));
    member.choices.push_back({ticket, true, ChoiceWriter(*member.call, k, base_.encoder.tokenizer())});
    seats_[ticket] = {&member, k};
    ++member.open;
  }
}

void Group::close(Member& member, Choice& choice) {
  choice.open = false;
  --member.open;
  seats_.erase(choice.ticket);
}

void Group::withdraw(Member& member) {
  for (Choice& choice : member.choices) {
    if (!choice.open) continue;
    batch_.cancel(choice.ticket);
    close(member, choice);
  }
}

void Group::drop_unwanted() {
  const auto now = steady_clock::now();
  std::erase_if(members_, [&](Member& member) {
    const bool late = !member.begun && now > member.call->deadline;
    if (!member.call->cancelled() && !late) return false;
    withdraw(member);
    member.call->send(failure_of(overloaded("The model is busy: no token came before the deadline. Try again shortly.")));
    base::log_info(late ? "a request came too late to its first token" : "a request was cancelled",
                    {{"request", member.call->request.request_id}, {"base", base_.row.name}});
    return true;
  });
}

void Group::step() {
  drop_unwanted();
  batch_.step(listener_);
  for (const std::uint64_t ticket : std::exchange(stopped_, {})) {
    const auto seat = seats_.find(ticket);
    if (seat == seats_.end()) continue;  // its last token was the one
    Choice& choice = seat->second.member->choices[seat->second.choice];
    batch_.cancel(ticket);
    choice.writer.end(generate::Finish::kLength);
    close(*seat->second.member, choice);
  }
  for (Member* const member : std::exchange(broken_, {})) {
    withdraw(*member);
    member->call->send(failure_of(base::ApiError(
        500, "server_error", "model_broken", "The model's numbers are not finite: its weights, or its adapter's, are damaged.")));
  }
  std::erase_if(members_, [this](const Member& member) {
    if (member.open > 0) return false;
    tell_done(member);
    return true;
  });
}

void Group::tell_done(const Member& member) const {
  Done done;
  done.prompt_tokens = prompt_tokens(*member.call);
  for (const Choice& choice : member.choices) done.completion_tokens += choice.writer.tokens();
  done.model_fingerprint = options_.fingerprint;
  member.call->send(done);
  base::log_info("a request was answered",
                  {{"request", member.call->request.request_id},
                   {"base", base_.row.name},
                   {"adapter", member.call->request.adapter ? member.call->request.adapter->weights.sha256 : "none"},
                   {"prompt_tokens", done.prompt_tokens},
                   {"completion_tokens", done.completion_tokens},
                   {"waited_ms", milliseconds_between(member.call->arrived, member.joined)},
                   {"took_ms", milliseconds_between(member.joined, steady_clock::now())}});
}

void Group::fail(const base::ApiError& error) {
  for (Member& member : members_) {
    withdraw(member);
    member.call->send(failure_of(error));
  }
  members_.clear();
}

}  // namespace finetuned::inference
