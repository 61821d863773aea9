#include "storage/redis/token_buckets.h"

#include <mutex>
#include <utility>

#include "base/log.h"
#include "storage/redis/connection.h"

namespace finetuned::redis {

namespace {

using Steady = std::chrono::steady_clock;

constexpr std::chrono::seconds kAway{1};
constexpr std::size_t kValuesAnAsk = 5;

/// KEYS: the buckets; ARGV: capacity, window in ms, need, want, back of each. Answers granted and thousandths left of each.
constexpr char kScript[] = R"(
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answer = {}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local capacity, window = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local need, want, back = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local kept = redis.call('HMGET', key, 'tokens', 'at', 'capacity')
  local tokens = capacity
  if kept[1] and kept[2] and kept[3] then
    tokens = tonumber(kept[1]) + capacity - tonumber(kept[3])
    tokens = tokens + math.max(0, now - tonumber(kept[2])) * capacity / (window * 1000)
  end
  tokens = math.max(0, math.min(capacity, tokens + back))
  local granted = 0
  if tokens + 0.000001 >= need then granted = math.min(math.floor(tokens + 0.000001), want) end
  tokens = math.max(0, tokens - granted)
  redis.call('HSET', key, 'tokens', string.format('%.6f', tokens), 'at', string.format('%.0f', now),
    'capacity', string.format('%.0f', capacity))
  redis.call('PEXPIRE', key, window)
  answer[#answer + 1] = granted
  answer[#answer + 1] = math.floor(tokens * 1000)
end
return answer
)";

std::vector<std::string> words_for(const std::vector<BucketAsk>& asks) {
  std::vector<std::string> words{std::to_string(asks.size())};
  words.reserve(1 + asks.size() * (kValuesAnAsk + 1));
  for (const BucketAsk& ask : asks) words.push_back(ask.key);
  for (const BucketAsk& ask : asks)
    for (const std::int64_t value : {ask.capacity, std::int64_t{ask.window.count()}, ask.need, ask.want, ask.back})
      words.push_back(std::to_string(value));
  return words;
}

}  // namespace

struct TokenBuckets::State {
  explicit State(Address address) : connection(std::move(address)) {}
  std::optional<Reply> run(const std::vector<BucketAsk>& asks);
  std::optional<Reply> send(const char* command, const std::string& script, const std::vector<std::string>& words);

  std::mutex mutex;
  Connection connection;
  std::string hash;  ///< of the script, as Redis names it; empty before it was loaded
  Steady::time_point away_until{};
};

std::optional<Reply> TokenBuckets::State::send(const char* command, const std::string& script,
                                               const std::vector<std::string>& words) {
  std::vector<std::string> all{command, script};
  all.insert(all.end(), words.begin(), words.end());
  return connection.command(all);
}

std::optional<Reply> TokenBuckets::State::run(const std::vector<BucketAsk>& asks) {
  if (!connection.ensure_open()) return std::nullopt;
  const auto words = words_for(asks);
  if (hash.empty()) {
    const auto loaded = connection.command({"SCRIPT", "LOAD", kScript});
    if (!loaded || loaded->kind != Reply::Kind::kText) return loaded;
    hash = loaded->text;
  }
  auto reply = send("EVALSHA", hash, words);
  if (reply && reply->kind == Reply::Kind::kError && reply->text.starts_with("NOSCRIPT"))
    reply = send("EVAL", kScript, words);  // which loads it again
  return reply;
}

TokenBuckets::TokenBuckets(Address address) : state_(std::make_unique<State>(std::move(address))) {}
TokenBuckets::~TokenBuckets() = default;

std::optional<std::vector<BucketGrant>> TokenBuckets::take(const std::vector<BucketAsk>& asks) {
  const std::lock_guard lock(state_->mutex);
  if (Steady::now() < state_->away_until) return std::nullopt;
  const auto reply = state_->run(asks);
  if (!reply || reply->kind != Reply::Kind::kArray || reply->elements.size() != 2 * asks.size()) {
    base::log_warn("Redis does not keep the rate limits: each gateway keeps its own",
                   {{"error", reply ? reply->text : std::string("away or too slow")}});
    state_->away_until = Steady::now() + kAway;
    return std::nullopt;
  }
  std::vector<BucketGrant> grants;
  for (std::size_t i = 0; i < asks.size(); ++i)
    grants.push_back({reply->elements[2 * i].integer, static_cast<double>(reply->elements[2 * i + 1].integer) / 1000});
  return grants;
}

}  // namespace finetuned::redis
