#include "services/gateway/key_cache.h"

namespace finetuned::gateway {

KeyCache::Answer KeyCache::find(const std::string& sha256) const {
  const std::lock_guard lock(mutex_);
  for (const Entries* entries : {&keys_, &refused_}) {
    const auto found = entries->find(sha256);
    if (found == entries->end()) continue;
    const auto left = found->second.ends - clock_.monotonic();
    if (left.count() > 0) return {true, !found->second.renewing && left <= kLifetime - kRenewal, found->second.principal};
  }
  return {};
}

KeyCache::LookUp KeyCache::begin(const std::string& sha256) {
  const std::lock_guard lock(mutex_);
  for (Entries* entries : {&keys_, &refused_}) {
    const auto found = entries->find(sha256);
    if (found != entries->end()) found->second.renewing = true;
  }
  return {generation_, clock_.monotonic()};
}

void KeyCache::remember(const std::string& sha256, const std::optional<Principal>& principal, const LookUp& look_up) {
  const std::lock_guard lock(mutex_);
  if (look_up.generation != generation_) return;
  (principal ? refused_ : keys_).erase(sha256);
  Entries& entries = principal ? keys_ : refused_;
  if (!entries.contains(sha256)) make_room(entries);
  entries.insert_or_assign(sha256, Entry{principal, look_up.began + kLifetime});
}

void KeyCache::forget_all() {
  const std::lock_guard lock(mutex_);
  ++generation_;
  keys_.clear();
  refused_.clear();
}

/// Where all that is there still counts, all of it goes: it will be looked up again, that is all.
void KeyCache::make_room(Entries& entries) const {
  if (entries.size() < kMostKeys) return;
  std::erase_if(entries, [now = clock_.monotonic()](const auto& named) { return named.second.ends <= now; });
  if (entries.size() >= kMostKeys) entries.clear();
}

}  // namespace finetuned::gateway
