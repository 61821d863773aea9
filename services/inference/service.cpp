#include "services/inference/service.h"

#include <poll.h>

#include <algorithm>
#include <atomic>
#include <list>
#include <system_error>
#include <thread>

#include "base/errors.h"
#include "base/log.h"
#include "base/stop.h"
#include "services/inference/adapter_shelf.h"
#include "services/inference/connection.h"
#include "services/inference/engine.h"
#include "services/inference/listener.h"
#include "services/inference/prompts.h"

namespace finetuned::inference {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kRequestLimit{10'000};  // for a request's line to arrive
constexpr milliseconds kRefusalLimit{1'000};
constexpr milliseconds kLastWords{500};  // for clients to hear that the drain's time is up
constexpr int kAcceptPauseMs = 100;
constexpr std::size_t kSpareConnections = 32;  // beyond those that wait and run: being read, or refused
constexpr const char* kAdaptersPrefix = "adapters-";
constexpr std::size_t kMostAdapters = 32;
constexpr std::size_t kMostPromptTokens = std::size_t{1} << 20;  // of one request

ModelShelfOptions shelf_options(const ServiceOptions& options) {
  return {.device = options.device, .threads = options.threads, .memory_bytes = options.memory_bytes, .sequences = options.batch};
}

/// What dead processes of this host had of adapters: those that live have a socket beside it.
void remove_left_adapters(const std::filesystem::path& directory, const std::string& name) {
  const std::string host = name.substr(0, name.rfind(':') + 1);
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string file = entry.path().filename();
    if (!file.starts_with(kAdaptersPrefix + host)) continue;
    const std::string owner = file.substr(std::string(kAdaptersPrefix).size());
    if (!std::filesystem::exists(directory / ("inference-" + owner + ".sock"))) std::filesystem::remove_all(entry.path());
  }
}

}  // namespace

struct InferenceService::State {
  State(postgres::Pool& pool, objects::ObjectStore& store, redis::Client& redis, ServiceOptions given)
      : options(std::move(given)), listener(options.directory, options.name), bases(pool),
        adapters(store, options.directory / (kAdaptersPrefix + options.name), kMostAdapters, options.memory_bytes / 4),
        shelf(shelf_options(options), adapters),
        engine(shelf, {.queue = options.queue,
                       .sequences = static_cast<std::size_t>(options.batch),
                       .patience = options.patience,
                       .build = options.build + " " + shelf.device_class()}),
        directory(redis) {
    remove_left_adapters(options.directory, options.name);
  }

  /// A connection, its thread, and whether that is over.
  struct Worker {
    explicit Worker(base::FileDescriptor socket) : connection(std::move(socket)) {}
    Connection connection;
    std::atomic<bool> over{false};
    std::jthread thread;
  };

  void converse(Connection& connection, std::string& request_id);
  void talk(Connection& connection);
  void accept_one();
  void advertise(const std::stop_token& stop);

  const ServiceOptions options;
  Listener listener;
  BaseCatalogue bases;
  AdapterShelf adapters;
  ModelShelf shelf;
  Engine engine;
  Directory directory;
  std::list<Worker> workers;  // run()'s thread's
};

InferenceService::InferenceService(postgres::Pool& pool, objects::ObjectStore& store, redis::Client& redis, ServiceOptions options)
    : state_(std::make_unique<State>(pool, store, redis, std::move(options))) {}
InferenceService::~InferenceService() = default;

const std::filesystem::path& InferenceService::socket() const { return state_->listener.path(); }
std::int64_t InferenceService::base_reads() const { return state_->shelf.reads(); }

/// `request_id`: the gateway's, once it is known.
void InferenceService::State::converse(Connection& connection, std::string& request_id) {
  const std::optional<std::string> line = connection.read_line(kRequestLimit);
  if (!line) return;
  const auto call = std::make_shared<Call>(InferenceRequest::parse(*line));
  request_id = call->request.request_id;
  auto base = bases.find(call->request.base);
  encode_prompts(*call, base->encoder, base->config);
  std::size_t tokens = 0;
  for (const auto& prompt : call->prompts) tokens += prompt.size();
  if (tokens > kMostPromptTokens)
    throw base::bad_request("request_too_large", "The prompts have " + std::to_string(tokens) + " tokens together; at most " +
                                                     std::to_string(kMostPromptTokens) + " may be sent at once.", "prompt");
  engine.submit(call, std::move(base));
  connection.relay(*call);
}

/// One request, start to end, on its own thread.
void InferenceService::State::talk(Connection& connection) {
  std::string request_id;
  try {
    converse(connection, request_id);
  } catch (const base::ApiError& error) {
    connection.write(serialise(failure_of(error)), kRefusalLimit);
  } catch (const std::exception& error) {
    base::log_error("a request for inference failed", {{"request", request_id}, {"why", error.what()}});
    connection.write(serialise(failure_of(base::unavailable("This worker cannot answer now. Try again shortly."))), kRefusalLimit);
  }
}

void InferenceService::State::accept_one() {
  std::erase_if(workers, [](const Worker& worker) { return worker.over.load(); });
  pollfd waited{listener.fd(), POLLIN, 0};
  if (::poll(&waited, 1, kAcceptPauseMs) <= 0) return;
  base::FileDescriptor socket = listener.accept();
  if (!socket.valid()) return;
  if (workers.size() >= options.queue + static_cast<std::size_t>(options.batch) + kSpareConnections) {
    Connection(std::move(socket)).write(serialise(failure_of(overloaded("Too many requests at once. Try again shortly."))), milliseconds(0));
    return;
  }
  Worker& worker = workers.emplace_back(std::move(socket));
  try {
    worker.thread = std::jthread([this, &worker] {
      talk(worker.connection);
      worker.connection.close();
      worker.over = true;
    });
  } catch (const std::system_error& error) {
    base::log_warn("no thread for a request for inference", {{"why", error.what()}});
    workers.pop_back();
  }
}

/// A broken engine is advertised no more.
void InferenceService::State::advertise(const std::stop_token& stop) {
  do {
    if (!engine.takes_calls()) break;
    directory.advertise({.name = options.name,
                         .socket = listener.path(),
                         .bases = shelf.bases(),
                         .adapters = adapters.names(),
                         .free_places = engine.free_places(),
                         .queue_length = engine.queue_length()});
  } while (base::sleep_unless_stopped(stop, Directory::kRenewal));
  directory.withdraw(options.name);
}

void InferenceService::run(const std::stop_token& stop) {
  State& state = *state_;
  std::jthread engine([&state] { state.engine.run(); });
  std::jthread advertiser([&state](const std::stop_token& end) { state.advertise(end); });
  base::log_info("inference is ready", {{"socket", state.listener.path().string()}, {"memory_bytes", state.options.memory_bytes}});
  while (!stop.stop_requested()) state.accept_one();
  advertiser.request_stop();
  const auto deadline = steady_clock::now() + state.options.drain;
  state.engine.drain(deadline);
  // Those that still come are told why by the engine: a gateway may not have heard yet.
  const auto is_busy = [&state] {
    return std::any_of(state.workers.begin(), state.workers.end(), [](const auto& worker) { return !worker.over; });
  };
  while (is_busy() && steady_clock::now() < deadline + kLastWords) state.accept_one();
  for (auto& worker : state.workers) worker.connection.close();
  state.workers.clear();
  base::log_info("inference has drained");
}

}  // namespace finetuned::inference
