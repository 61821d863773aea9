#include "services/gateway/rate_limiter.h"

#include <algorithm>
#include <utility>

namespace finetuned::gateway {

namespace {

constexpr std::int64_t kLeaseFraction = 20;
constexpr std::chrono::seconds kLease{1};
constexpr std::chrono::seconds kLongestSilence{1};  // an empty bucket is asked again after this: its size may have changed
constexpr std::chrono::minutes kForgotten{1};
constexpr int kMostTries = 4;

std::int64_t lease_of(std::int64_t capacity, std::int64_t amount) {
  return std::max({std::int64_t{1}, amount, capacity / kLeaseFraction});
}

RateView view_of(const TokenBucket& pool, std::int64_t leased, TokenBucket::Time now) {
  const double left = std::clamp(pool.tokens(now) + static_cast<double>(leased), 0.0, static_cast<double>(pool.capacity()));
  RateView view{pool.capacity(), static_cast<std::int64_t>(left + 1e-6), std::chrono::milliseconds{0}};
  view.reset = pool.wait_for(static_cast<double>(pool.capacity() - leased), now);
  return view;
}

}  // namespace

/// The rules' buckets; one whose size is not what it was starts with what is known of it, within the new size.
std::vector<RateLimiter::Entry*> RateLimiter::entries_of(const std::vector<RateLimitRule>& rules, Time now) {
  std::vector<Entry*> entries;
  entries.reserve(rules.size());
  for (const RateLimitRule& rule : rules) {
    auto found = entries_.find(rule.name);
    if (found == entries_.end()) {
      make_room(now);
      found = entries_.emplace(rule.name, Entry{TokenBucket(rule.capacity, rule.window, now)}).first;
    }
    Entry& entry = found->second;
    if (entry.pool.capacity() != rule.capacity || entry.pool.window() != rule.window) {
      const double used = static_cast<double>(entry.pool.capacity()) - entry.pool.tokens(now);
      entry.pool = TokenBucket(rule.capacity, rule.window, now);
      entry.pool.set(static_cast<double>(rule.capacity) - used, now);
      entry.empty_until = {};
    }
    entry.last_used = now;
    entries.push_back(&entry);
  }
  return entries;
}

/// Buckets that nobody has used for a while are forgotten, and the one unused for longest where all are in use.
void RateLimiter::make_room(Time now) {
  if (entries_.size() < kMostBuckets) return;
  std::erase_if(entries_, [now](const auto& named) { return named.second.last_used + kForgotten < now; });
  if (entries_.size() < kMostBuckets) return;
  entries_.erase(std::min_element(entries_.begin(), entries_.end(), [](const auto& a, const auto& b) {
    return a.second.last_used < b.second.last_used;
  }));
}

RateLimiter::Local RateLimiter::spend_leases(const std::vector<Entry*>& entries, std::int64_t amount, Time now) {
  bool covered = true;
  for (const Entry* entry : entries) {
    if (now < entry->empty_until && amount >= entry->missed && entry->leased < amount) return Local::kRefused;
    covered = covered && now < entry->lease_ends && entry->leased >= amount;
  }
  if (!covered) return Local::kAskRedis;
  for (Entry* entry : entries) entry->leased -= amount;
  return Local::kSpent;
}

/// Without Redis: what is leased goes back to our own bucket, which then decides.
void RateLimiter::spend_alone(const std::vector<Entry*>& entries, std::int64_t amount, Time now, RateOutcome& outcome) {
  bool covered = true;
  for (Entry* entry : entries) {
    entry->pool.put_back(std::exchange(entry->leased, 0), now);
    entry->empty_until = {};
    covered = covered && entry->pool.has(amount, now);
  }
  if (!covered) return refuse_empty(entries, amount, now, outcome);
  for (Entry* entry : entries) entry->pool.take(amount, now);
}

void RateLimiter::refuse_empty(const std::vector<Entry*>& entries, std::int64_t amount, Time now, RateOutcome& outcome) {
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const auto wait = entries[i]->pool.wait_for(static_cast<double>(amount - entries[i]->leased), now);
    if (outcome.refused && wait <= outcome.retry) continue;
    outcome.refused = i;
    outcome.retry = wait;
  }
  outcome.retry = std::max(outcome.retry, std::chrono::milliseconds{1});
}

/// Asks Redis for the buckets that have no lease good for `amount`. False: it is away.
bool RateLimiter::lease(const std::vector<RateLimitRule>& rules, std::int64_t amount) {
  std::vector<redis::BucketAsk> asks;
  std::vector<const RateLimitRule*> asked;
  {
    const std::lock_guard lock(mutex_);
    const Time now = clock_.monotonic();
    const auto entries = entries_of(rules, now);
    for (std::size_t i = 0; i < rules.size(); ++i) {
      if (now < entries[i]->lease_ends && entries[i]->leased >= amount) continue;
      asks.push_back({"finetuned:rate:" + rules[i].name, rules[i].capacity, rules[i].window, amount,
                      lease_of(rules[i].capacity, amount), entries[i]->leased});
      asked.push_back(&rules[i]);
      entries[i]->leased = 0;
    }
  }
  const auto grants = shared_.take(asks);
  const std::lock_guard lock(mutex_);
  const Time now = clock_.monotonic();
  for (std::size_t i = 0; i < asks.size(); ++i) {
    Entry& entry = *entries_of({*asked[i]}, now).front();
    if (!grants) {
      entry.pool.put_back(asks[i].back, now);
      continue;
    }
    const redis::BucketGrant& grant = (*grants)[i];
    entry.leased += grant.granted;
    entry.lease_ends = now + kLease;
    entry.pool.set(grant.left, now);
    entry.empty_until = {};
    if (grant.granted > 0) continue;
    entry.missed = amount;
    const auto wait = entry.pool.wait_for(static_cast<double>(amount), now);
    entry.empty_until = now + std::min<std::chrono::milliseconds>(wait, kLongestSilence);
  }
  return grants.has_value();
}

void RateLimiter::settle(const std::vector<RateLimitRule>& rules, std::int64_t more) {
  if (more == 0) return;
  const std::lock_guard lock(mutex_);
  for (Entry* entry : entries_of(rules, clock_.monotonic())) {
    entry->leased = std::clamp(entry->leased - more, -entry->pool.capacity(), entry->pool.capacity());
    if (more < 0) entry->empty_until = {};
  }
}

/// Takes what it can without asking Redis, and sees how the buckets stand then.
RateLimiter::Local RateLimiter::take_here(const std::vector<RateLimitRule>& rules, std::int64_t amount, Mode mode,
                                          RateOutcome& outcome) {
  const std::lock_guard lock(mutex_);
  const Time now = clock_.monotonic();
  const auto entries = entries_of(rules, now);
  Local done = Local::kSpent;
  if (mode == Mode::kAlone)
    spend_alone(entries, amount, now, outcome);
  else if (mode == Mode::kContended)
    done = Local::kRefused;
  else if (amount > 0)
    done = spend_leases(entries, amount, now);
  if (done == Local::kRefused) refuse_empty(entries, amount, now, outcome);
  outcome.views.clear();
  outcome.views.reserve(entries.size());
  for (const Entry* entry : entries) outcome.views.push_back(view_of(entry->pool, entry->leased, now));
  return done;
}

std::optional<RateOutcome> RateLimiter::take_at_once(const std::vector<RateLimitRule>& rules, std::int64_t amount) {
  RateOutcome outcome;
  if (take_here(rules, amount, Mode::kLeased, outcome) == Local::kAskRedis) return std::nullopt;
  return outcome;
}

RateOutcome RateLimiter::take(const std::vector<RateLimitRule>& rules, std::int64_t amount) {
  if (auto outcome = take_at_once(rules, amount)) return std::move(*outcome);
  RateOutcome outcome;
  const std::lock_guard one_asks(leasing_);
  // Whoever waited may find what another brought; what others spent in the meantime is asked for again.
  bool away = false;
  for (int tries = 0; tries < kMostTries && !away; ++tries) {
    if (take_here(rules, amount, Mode::kLeased, outcome) != Local::kAskRedis) return outcome;
    away = !lease(rules, amount);
  }
  if (away)
    take_here(rules, amount, Mode::kAlone, outcome);
  else if (take_here(rules, amount, Mode::kLeased, outcome) == Local::kAskRedis)
    take_here(rules, amount, Mode::kContended, outcome);
  return outcome;
}

}  // namespace finetuned::gateway
