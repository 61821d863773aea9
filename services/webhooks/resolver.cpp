#include "services/webhooks/resolver.h"

#include <netdb.h>
#include <sys/socket.h>

#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "services/webhooks/addresses.h"

namespace finetuned::webhooks {

std::vector<std::string> look_up_by_system(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> list(found, &::freeaddrinfo);
  if (failed != 0) throw Unresolved("the host could not be resolved: " + std::string(::gai_strerror(failed)));
  std::vector<std::string> addresses;
  for (const addrinfo* one = found; one; one = one->ai_next) addresses.push_back(address_bytes(one->ai_addr));
  return addresses;
}

struct Resolver::State {
  Lookup lookup;
  std::size_t most = 0;
  std::mutex mutex;
  std::condition_variable ended;
  std::size_t running = 0;
};

namespace {

struct Outcome {
  bool there = false;
  std::vector<std::string> addresses;
  std::exception_ptr error;
};

}  // namespace

Resolver::Resolver(std::chrono::milliseconds limit, std::size_t most_at_once, Lookup lookup)
    : limit_(limit), state_(std::make_shared<State>()) {
  state_->lookup = std::move(lookup);
  state_->most = most_at_once;
}

Resolver::~Resolver() = default;

std::vector<std::string> Resolver::resolve(const std::string& host) const {
  const auto outcome = std::make_shared<Outcome>();
  std::unique_lock lock(state_->mutex);
  if (state_->running >= state_->most) throw Unresolved("the host was not resolved: too many other hosts' name servers do not answer");
  try {
    std::thread([state = state_, outcome, host] {
      Outcome mine;
      try {
        mine.addresses = state->lookup(host);
      } catch (...) {
        mine.error = std::current_exception();
      }
      const std::lock_guard guard(state->mutex);
      *outcome = std::move(mine);
      outcome->there = true;
      --state->running;
      state->ended.notify_all();
    }).detach();
  } catch (const std::system_error&) {
    throw Unresolved("the host was not resolved: there is no thread for it right now");
  }
  ++state_->running;  // the thread waits for the lock before it takes itself off again
  if (!state_->ended.wait_for(lock, limit_, [&] { return outcome->there; }))
    throw Unresolved("the host could not be resolved within " + std::to_string(limit_.count()) + " ms");
  if (outcome->error) std::rethrow_exception(outcome->error);
  return std::move(outcome->addresses);
}

}  // namespace finetuned::webhooks
