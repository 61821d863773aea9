#include "services/gateway/job_bodies.h"

#include <utility>

namespace finetuned::gateway {

namespace {

constexpr std::size_t kBesideText = 256;  // of an entry, about

std::size_t cost_of(const JobBodies::Body& body) { return body.text->size() + kBesideText; }

}  // namespace

void JobBodies::keep(const std::string& id, Body body) {
  const std::size_t cost = cost_of(body);
  const std::lock_guard lock(mutex_);
  if (const auto found = bodies_.find(id); found != bodies_.end()) {
    bytes_ -= cost_of(found->second);
    bodies_.erase(found);
  }
  if (bytes_ + cost > kMostBytes) {
    bodies_.clear();
    bytes_ = 0;
  }
  if (cost > kMostBytes) return;
  bytes_ += cost;
  bodies_.emplace(id, std::move(body));
}

std::shared_ptr<const std::string> JobBodies::find(const std::string& id, const std::string& version, Time now) const {
  const std::lock_guard lock(mutex_);
  const auto found = bodies_.find(id);
  if (found == bodies_.end() || found->second.version != version || now >= found->second.until) return nullptr;
  return found->second.text;
}

}  // namespace finetuned::gateway
