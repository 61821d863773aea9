#include "services/roles.h"

#include <unistd.h>

#include <iostream>
#include <thread>

#include "base/errors.h"
#include "base/log.h"
#include "base/stop.h"
#include "services/contributions/contributions.h"
#include "services/gateway/gateway.h"
#include "services/inference_part.h"
#include "services/intake/expiry_sweep.h"
#include "services/intake/intake.h"
#include "services/metering/metering.h"
#include "services/parts.h"
#include "services/scheduler/scheduler.h"
#include "services/shutdown.h"
#include "services/webhooks/deliverer.h"
#include "services/worker/exporter.h"
#include "services/worker/worker.h"
#include "storage/objects/open_store.h"
#include "storage/outbox_store.h"
#include "storage/postgres/migrator.h"
#include "storage/redis/stream_reader.h"
#include "trainer/collective/collective.h"

namespace finetuned::services {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kDrain{25'000};  // below the supervisor's own deadline
constexpr seconds kGatewayClosing{3};  // beyond its own drain, to close what is left
constexpr milliseconds kDatabasePause{1'000};
constexpr milliseconds kExpiryPause{5'000};
constexpr milliseconds kContributionsPause{1'000};
constexpr int kWorkerNiceness = 10;
constexpr std::size_t kWebhookConnections = 4;  // its threads wait for receivers, hardly ever for the database

std::string names_of(const std::vector<tensor::DeviceSpec>& devices) {
  std::string names;
  for (const tensor::DeviceSpec& device : devices) names += (names.empty() ? "" : " ") + tensor::device_name(device);
  return names;
}

std::vector<tensor::DeviceSpec> worker_devices(const base::Settings& settings) {
  try {
    const tensor::DevicesChoice choice = tensor::choose_devices(settings.worker.device);
    if (!choice.reason.empty())
      base::log_info("worker.device is auto", {{"device", names_of(choice.specs)}, {"why", choice.reason}});
    if (choice.specs.size() > collective::kMostRanks)
      throw base::UsageError("names " + std::to_string(choice.specs.size()) + " GPUs; a job's step is shared by " +
                             std::to_string(collective::kMostRanks) + " at most, so run a second worker for the others");
    return choice.specs;
  } catch (const base::UsageError& error) {
    throw base::ConfigError(std::string("worker.device: ") + error.what());
  }
}

/// False when the process shall stop before the database was ready.
bool wait_for_database(postgres::Pool& pool, const std::stop_token& stop) {
  const auto migrations = postgres::embedded_migrations();
  for (int tries = 0; !stop.stop_requested(); ++tries) {
    try {
      if (postgres::is_migrated(pool, migrations)) return true;
      if (tries % 10 == 0) base::log_warn("the database is not migrated: run finetuned migrate");
    } catch (const std::exception& error) {
      if (tries % 10 == 0) base::log_warn("waiting for the database", {{"why", error.what()}});
    }
    base::sleep_unless_stopped(stop, kDatabasePause);
  }
  return false;
}

redis::StreamReaderOptions reader_options(const base::Settings& settings, const char* stream, const char* group) {
  redis::StreamReaderOptions options;
  options.address = redis_address(settings);
  options.stream = stream;
  options.group = group;
  options.consumer = process_name();
  return options;
}

/// Half-written objects of processes that are gone. Another user's stay: its own role removes them.
void sweep_objects(objects::ObjectStore& store) {
  try {
    store.remove_leftovers();
  } catch (const std::exception& error) {
    base::log_warn("half-written objects could not be removed", {{"why", error.what()}});
  }
}

}  // namespace

int run_gateway(const base::Settings& settings) {
  Shutdown shutdown(seconds(settings.gateway.drain_seconds) + kGatewayClosing);
  gateway::Gateway gateway(settings);
  shutdown.on_hangup([&gateway] { gateway.reload(); });
  struct Deaf {
    Shutdown& shutdown;
    ~Deaf() { shutdown.on_hangup({}); }
  } const before_the_gateway_goes{shutdown};
  return gateway.serve(shutdown.token()) ? 0 : 1;
}

int run_intake(const base::Settings& settings) {
  const Shutdown shutdown(kDrain);
  postgres::Pool pool(pool_options(settings, "intake", 3));
  const auto objects = objects::open_store(settings);
  objects::ObjectStore& store = *objects;
  if (!wait_for_database(pool, shutdown.token())) return 0;
  sweep_objects(store);
  intake::IntakeOptions options;
  options.owner = process_name();
  options.lease_seconds = settings.intake.lease_seconds;
  options.row_bytes = static_cast<std::size_t>(settings.intake.max_row_bytes);
  options.kept_faults = static_cast<std::size_t>(settings.intake.max_reported_faults);
  intake::Intake role(pool, store, options);
  const redis::StreamReader reader(reader_options(settings, storage::kFilesStream, "intake"),
                                   [&role](const std::string&) { role.wake(); });
  intake::ExpirySweep sweep(pool, store, kExpiryPause);
  const std::jthread sweeper([&sweep](const std::stop_token& stop) { sweep.run(stop); });
  base::log_info("ready");
  role.run(shutdown.token());
  base::log_info("drained");
  return 0;
}

int run_scheduler(const base::Settings& settings) {
  const Shutdown shutdown(kDrain);
  postgres::Pool pool(pool_options(settings, "scheduler", 2));
  redis::Client redis(redis_address(settings));
  if (!wait_for_database(pool, shutdown.token())) return 0;
  scheduler::SchedulerOptions options;
  options.sweep_pause = seconds(settings.scheduler.sweep_seconds);
  options.most_attempts = settings.scheduler.max_attempts;
  options.preemption = {settings.scheduler.preempt_after_seconds, settings.scheduler.preempt_pause_seconds};
  scheduler::Scheduler role(pool, redis, options);
  base::log_info("ready");
  role.run(shutdown.token());
  base::log_info("drained");
  return 0;
}

int run_worker(const base::Settings& settings) {
  const std::vector<tensor::DeviceSpec> devices = worker_devices(settings);
  if (settings.worker.heartbeat_seconds * 2 > settings.worker.lease_seconds)
    throw base::ConfigError("worker.heartbeat_seconds: must be at most half of worker.lease_seconds");
  const Shutdown shutdown(kDrain);
  // The trainer takes every core; the gateway beside it still answers at once.
  if (::nice(kWorkerNiceness) == -1) base::log_warn("the worker runs at full priority");
  postgres::Pool pool(pool_options(settings, "worker", 5));
  const auto objects = objects::open_cached_store(settings);
  objects::ObjectStore& store = *objects;
  if (!wait_for_database(pool, shutdown.token())) return 0;
  sweep_objects(store);
  worker::WorkerOptions options;
  options.name = process_name();
  options.known_as = options.name.substr(0, options.name.rfind(':'));  // the machine's own, whatever process it is
  options.scratch_directory = jobs_directory(settings);
  options.link.lease_seconds = settings.worker.lease_seconds;
  options.link.heartbeat = seconds(settings.worker.heartbeat_seconds);
  options.state_seconds = settings.worker.state_seconds;
  options.state_steps = settings.worker.state_steps;
  options.storage.patience_seconds = settings.worker.storage_patience_seconds;
  options.devices = devices;
  options.program = "/proc/self/exe";  // this very build, even where its file was replaced meanwhile
  options.threads = settings.worker.threads;
  const MemoryShares memory = share_memory(settings, devices.front());
  options.memory_bytes = memory.training;
  options.peer_timeout = seconds(settings.worker.peer_timeout_seconds);
  worker::Worker role(pool, store, options);
  InferencePart inference(settings, store, devices.front(), memory.inference);
  const std::stop_callback drain_inference(shutdown.token(), [&inference] { inference.stop(); });
  const redis::StreamReader reader(reader_options(settings, storage::kJobsStream, "workers"),
                                   [&role](const std::string&) { role.wake(); });
  worker::Exporter exporter(pool, store, {.name = options.name, .scratch_directory = options.scratch_directory, .known_as = options.known_as});
  const std::jthread exporting([&exporter](const std::stop_token& stop) { exporter.run(stop); });
  base::log_info("ready", {{"device", names_of(devices)}});
  role.run(shutdown.token());
  base::log_info("drained");
  return 0;
}

int run_metering(const base::Settings& settings) {
  const Shutdown shutdown(kDrain);
  postgres::Pool pool(pool_options(settings, "metering", 2));
  if (!wait_for_database(pool, shutdown.token())) return 0;
  const metering::MeteringOptions options{.reconcile_pause = seconds(settings.metering.reconcile_seconds),
                                          .seal_pause = seconds(settings.metering.seal_seconds)};
  metering::Metering role(pool, options, ledger_key(settings), billing::HeadFiles(ledger_directory(settings)));
  contributions::Contributions contributions(pool, kContributionsPause);
  const std::jthread judging([&contributions](const std::stop_token& stop) { contributions.run(stop); });
  base::log_info("ready");
  role.run(shutdown.token());
  base::log_info("drained");
  return 0;
}

int run_webhooks(const base::Settings& settings) {
  webhooks::DelivererOptions options;
  try {
    options.sender.allowed_hosts = webhooks::parse_allowed_hosts(settings.webhooks.allowed_hosts);
  } catch (const base::UsageError& error) {
    throw base::ConfigError(std::string("webhooks.allowed_hosts: ") + error.what());
  }
  options.sender.ca_file = settings.webhooks.ca_file;
  if (!options.sender.ca_file.empty() && ::access(options.sender.ca_file.c_str(), R_OK) != 0)
    throw base::ConfigError("webhooks.ca_file: '" + options.sender.ca_file + "' cannot be read");
  const base::SealingKey key = base::webhooks_key(settings);
  const Shutdown shutdown(kDrain);
  postgres::Pool pool(pool_options(settings, "webhooks", kWebhookConnections));
  if (!wait_for_database(pool, shutdown.token())) return 0;
  webhooks::Deliverer role(pool, key, options);
  base::log_info("ready");
  role.run(shutdown.token());
  base::log_info("drained");
  return 0;
}

int run_migrate(const base::Settings& settings) {
  postgres::Pool owner(pool_options(as_owner(settings), "migrate", 2));
  const auto applied = postgres::migrate(owner, postgres::embedded_migrations());
  for (const std::string& name : applied) std::cout << "applied " << name << "\n";
  if (applied.empty()) std::cout << "nothing to apply: the database is up to date\n";
  grant_tables(settings);
  return 0;
}

}  // namespace finetuned::services
