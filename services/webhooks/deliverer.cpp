#include "services/webhooks/deliverer.h"

#include <atomic>
#include <optional>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/offload.h"
#include "base/stop.h"
#include "services/webhooks/retry.h"
#include "services/webhooks/signature.h"

namespace finetuned::webhooks {

namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::ClaimedDelivery;
using storage::DeliveryOutcome;
using storage::WebhookLeases;

constexpr int kTidiedAtOnce = 500, kMostRounds = 20;
constexpr std::chrono::milliseconds kAfterError{1'000};
constexpr int kGone = 410;

double uniform() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return std::uniform_real_distribution<double>(0, 1)(generator);
}

DeliveryOutcome judge(const Answer& answer, std::int64_t attempts) {
  DeliveryOutcome outcome;
  outcome.retry_after_seconds = retry_seconds(attempts, uniform());
  if (!answer.start.empty()) outcome.answer = answer.start;
  if (!answer.status) {
    outcome.error = answer.error;
    return outcome;
  }
  outcome.status = *answer.status;
  outcome.delivered = *answer.status >= 200 && *answer.status < 300;
  outcome.gone = *answer.status == kGone;
  if (*answer.status >= 300 && *answer.status < 400)
    outcome.error = "it answered with a redirect, which is not followed: register the URL that it leads to";
  else if (!outcome.delivered)
    outcome.error = "it answered " + std::to_string(*answer.status);
  return outcome;
}

}  // namespace

struct Deliverer::State {
  State(postgres::Pool& database, base::SealingKey sealing, DelivererOptions all)
      : pool(database), key(std::move(sealing)), options(std::move(all)), sender(options.sender) {}

  std::optional<ClaimedDelivery> claim() {
    return pool.transact(Scope::system(), [&](Transaction& tx) { return WebhookLeases(tx).claim(options.limits); });
  }

  DeliveryOutcome attempt(const ClaimedDelivery& delivery) {
    std::string secret;
    try {
      secret = key.open(delivery.sealed_secret, delivery.endpoint_id);
    } catch (const base::SealError& error) {
      base::log_error("an endpoint's secret cannot be used", {{"endpoint", delivery.endpoint_id}, {"why", error.what()}});
      return judge({std::nullopt, "the signing secret cannot be read: rotate it", ""}, delivery.attempts);
    }
    const std::vector<Header> headers{
        {"webhook-id", delivery.event_id},
        {"webhook-timestamp", std::to_string(delivery.now)},
        {"webhook-signature", signature(secret, delivery.event_id, delivery.now, delivery.body)}};
    return judge(sender.post(delivery.url, headers, delivery.body), delivery.attempts);
  }

  void deliver(const ClaimedDelivery& delivery) {
    const DeliveryOutcome outcome = attempt(delivery);
    const bool written = pool.transact(
        Scope::system(), [&](Transaction& tx) { return WebhookLeases(tx).record(delivery, outcome); });
    if (!written)
      base::log_warn("a delivery's lease was lost", {{"about", delivery.about}, {"event", delivery.event_id}, {"delivery", delivery.id}});
    else if (outcome.delivered)
      base::log_info("delivered", {{"about", delivery.about}, {"event", delivery.event_id}, {"delivery", delivery.id}, {"attempts", delivery.attempts}});
    else
      base::log_info("a try failed", {{"about", delivery.about}, {"event", delivery.event_id}, {"delivery", delivery.id}, {"attempts", delivery.attempts}, {"why", *outcome.error}});
  }

  postgres::Pool& pool;
  base::SealingKey key;
  DelivererOptions options;
  Sender sender;
};

Deliverer::Deliverer(postgres::Pool& pool, base::SealingKey key, DelivererOptions options)
    : state_(std::make_unique<State>(pool, std::move(key), std::move(options))) {}
Deliverer::~Deliverer() = default;

bool Deliverer::deliver_one() {
  const auto delivery = state_->claim();
  if (delivery) state_->deliver(*delivery);
  return delivery.has_value();
}

void Deliverer::tidy() {
  const auto all = [&](std::size_t (WebhookLeases::*some)(int)) {
    for (int round = 0; round < kMostRounds; ++round) {
      const std::size_t count = state_->pool.transact(
          Scope::system(), [&](Transaction& tx) { return (WebhookLeases(tx).*some)(kTidiedAtOnce); });
      if (count < static_cast<std::size_t>(kTidiedAtOnce)) return;
    }
  };
  all(&WebhookLeases::give_up);
  all(&WebhookLeases::forget);
}

void Deliverer::run(const std::stop_token& stop) {
  const std::size_t slots = state_->options.threads;
  std::atomic<std::size_t> in_flight = 0;
  base::BlockingPool threads(slots, slots);  // joined first of all: its work uses the two above
  const auto start_one = [&] {
    if (in_flight >= slots) return false;
    auto delivery = state_->claim();
    if (!delivery) return false;
    ++in_flight;
    const bool started = threads.try_submit([&, delivery = std::move(*delivery)] {
      try {
        state_->deliver(delivery);
      } catch (const std::exception& error) {
        base::log_error("a delivery broke off; its lease will end", {{"about", delivery.about}, {"event", delivery.event_id}, {"delivery", delivery.id}, {"why", error.what()}});
      }
      --in_flight;
    });
    if (!started) --in_flight;
    return started;
  };
  auto tidy_at = std::chrono::steady_clock::now();
  auto pause = std::chrono::milliseconds(0);
  while (base::sleep_unless_stopped(stop, pause)) {
    try {
      pause = start_one() ? std::chrono::milliseconds(0) : state_->options.idle_pause;
      if (tidy_at > std::chrono::steady_clock::now()) continue;
      tidy();
      tidy_at = std::chrono::steady_clock::now() + state_->options.tidy_pause;
    } catch (const std::exception& error) {
      base::log_error("the deliveries were not reached; trying again", {{"why", error.what()}});
      pause = kAfterError;
    }
  }
}

}  // namespace finetuned::webhooks
