#include <algorithm>
#include <string>
#include <string_view>

#include "base/config.h"
#include "base/errors.h"
#include "base/settings.h"

namespace finetuned::base {

namespace {

using Type = ConfigKey::Type;

template <class Section, class Field>
auto integer(Section Settings::*section, Field Section::*field) {
  return [=](Settings& s, const std::string& text) { s.*section.*field = static_cast<Field>(std::stoll(text)); };
}

template <class Section>
auto text(Section Settings::*section, std::string Section::*field) {
  return [=](Settings& s, const std::string& value) { s.*section.*field = value; };
}

std::vector<ConfigKey> worker_keys() {
  using S = Settings;
  return {
      {"worker.device", Type::kText, "cpu", {}, {}, false, "What the worker trains on: cpu, cuda or cuda:N (an NVIDIA GPU), cuda:N,M,... (several, for jobs that can use them), auto.",
       text(&S::worker, &S::Worker::device)},
      {"worker.threads", Type::kInteger, "0", 0, 1024, false, "Threads of the trainer; 0: all cores.",
       integer(&S::worker, &S::Worker::threads)},
      {"worker.lease_seconds", Type::kInteger, "30", 3, 3600, false, "A dead worker's job is taken over after this.",
       integer(&S::worker, &S::Worker::lease_seconds)},
      {"worker.heartbeat_seconds", Type::kInteger, "5", 1, 600, false, "How often a lease is renewed.",
       integer(&S::worker, &S::Worker::heartbeat_seconds)},
      {"worker.state_seconds", Type::kInteger, "60", 0, 86400, false,
       "How often a running job's state is saved, beside the training, for another worker to go on from should this one die; "
       "0: only where the job is stopped.",
       integer(&S::worker, &S::Worker::state_seconds)},
      {"worker.state_steps", Type::kInteger, "0", 0, 1000000, false,
       "The same by the run's steps: also after each so many; 0: by time alone.",
       integer(&S::worker, &S::Worker::state_steps)},
      {"worker.storage_patience_seconds", Type::kInteger, "86400", 60, 31536000, false,
       "A job that the storage fails is paused and goes on by itself; it is given up, unbilled, where it has got no further for so long.",
       integer(&S::worker, &S::Worker::storage_patience_seconds)},
      {"worker.memory_bytes", Type::kInteger, "0", 0, 1e15, false,
       "What a run and the bases kept beside it may take of the device's memory; 0: the machine's, less a tenth, or a GPU's "
       "free memory, less a twentieth, and less what inference may take.",
       integer(&S::worker, &S::Worker::memory_bytes)},
      {"worker.peer_timeout_seconds", Type::kInteger, "7200", 60, 86400, false,
       "Of several GPUs that share a job's steps, how long one is waited for, also while it reads its copy of the base.",
       integer(&S::worker, &S::Worker::peer_timeout_seconds)},
  };
}

std::vector<ConfigKey> webhooks_keys() {
  using S = Settings;
  return {
      {"webhooks.secret_key", Type::kText, "", {}, {}, true,
       "32 bytes in base64 that seal the endpoints' signing secrets and sign download URLs, the same for every process; empty: made once and kept in "
       "the data directory, as webhooks.key.",
       text(&S::webhooks, &S::Webhooks::secret_key)},
      {"webhooks.allowed_hosts", Type::kText, "", {}, {}, false,
       "HOST:PORT,HOST:PORT: receivers that may have private addresses. Others must have public ones only.",
       text(&S::webhooks, &S::Webhooks::allowed_hosts)},
      {"webhooks.ca_file", Type::kText, "", {}, {}, false, "Certificates (PEM) that receivers' are trusted by, beside the system's.",
       text(&S::webhooks, &S::Webhooks::ca_file)},
  };
}

std::vector<ConfigKey> generation_keys() {
  using S = Settings;
  return {
      {"gateway.generation_seconds", Type::kInteger, "300", 1, 600, false, "The longest a model's answer may take.",
       integer(&S::gateway, &S::Gateway::generation_seconds)},
      {"gateway.max_generations", Type::kInteger, "256", 1, 100000, false,
       "Answers of models that are worked on at once at most; a quarter of them for one project.",
       integer(&S::gateway, &S::Gateway::max_generations)},
  };
}

std::vector<ConfigKey> inference_keys() {
  using S = Settings;
  return {
      {"inference.enabled", Type::kFlag, "true", {}, {}, false, "Whether a worker answers chats and completions beside training.",
       [](S& s, const std::string& value) { s.inference.enabled = value == "true"; }},
      {"inference.batch", Type::kInteger, "16", 1, 256, false, "Answers of one model that are written side by side at most.",
       integer(&S::inference, &S::Inference::batch)},
      {"inference.queue", Type::kInteger, "64", 1, 1024, false, "Requests that wait at most; others are told to try again.",
       integer(&S::inference, &S::Inference::queue)},
      {"inference.memory_bytes", Type::kInteger, "0", 0, 1e15, false,
       "What bases, adapters and answers may take of the memory of the worker's first device; 0: a quarter of the machine's, or "
       "of the GPU's that is free. Where worker.memory_bytes is 0 too, training leaves it alone.",
       integer(&S::inference, &S::Inference::memory_bytes)},
      {"inference.threads", Type::kInteger, "0", 0, 1024, false, "Threads that write answers on the processor; 0: as worker.threads.",
       integer(&S::inference, &S::Inference::threads)},
  };
}

std::vector<ConfigKey> limits_keys() {
  using S = Settings;
  return {
      {"gateway.requests_per_minute_per_key", Type::kInteger, "3000", 1, 1e9, false, "Requests that one key may make in a minute.",
       integer(&S::gateway, &S::Gateway::requests_per_minute_per_key)},
      {"gateway.requests_per_minute_per_project", Type::kInteger, "6000", 1, 1e9, false,
       "Requests that all keys of a project may make in a minute.",
       integer(&S::gateway, &S::Gateway::requests_per_minute_per_project)},
      {"gateway.tokens_per_minute_per_project", Type::kInteger, "10000000", 1, 1e12, false,
       "Tokens that a project's completions may have in a minute, all models together.",
       integer(&S::gateway, &S::Gateway::tokens_per_minute_per_project)},
      {"gateway.limits_timeout_ms", Type::kInteger, "20", 1, 10000, false,
       "The longest that counting a request in Redis may take; after that, and for a second, this gateway counts alone.",
       integer(&S::gateway, &S::Gateway::limits_timeout_ms)},
  };
}

std::vector<ConfigKey> object_call_keys() {
  using S = Settings;
  return {
      {"gateway.storage_threads", Type::kInteger, "8", 1, 256, false,
       "Threads for the object store: where it hangs, requests that need none of it do not wait for these.",
       integer(&S::gateway, &S::Gateway::storage_threads)},
      {"gateway.storage_timeout_seconds", Type::kInteger, "30", 1, 3600, false,
       "A call on the object store that takes longer is given up, and its request answered with 503; a bucket's gets all its tries, and a commit a second for each 10 MB, besides.",
       integer(&S::gateway, &S::Gateway::storage_timeout_seconds)},
  };
}

TlsVersion parse_tls_version(const std::string& text) {
  if (text == "1.2") return TlsVersion::k1_2;
  if (text == "1.3") return TlsVersion::k1_3;
  throw UsageError("must be 1.2 or 1.3, not '" + text + "'");
}

std::vector<ConfigKey> tls_keys() {
  using S = Settings;
  return {
      {"gateway.tls_certificate_file", Type::kText, "", {}, {}, false,
       "The gateway's certificate and its intermediates (PEM), read again on SIGHUP; empty: plain HTTP.",
       text(&S::gateway, &S::Gateway::tls_certificate_file)},
      {"gateway.tls_key_file", Type::kText, "", {}, {}, false, "The certificate's private key (PEM, without a passphrase); only its owner may read it.",
       text(&S::gateway, &S::Gateway::tls_key_file)},
      {"gateway.tls_min_version", Type::kText, "1.2", {}, {}, false, "The oldest TLS that is spoken: 1.2 or 1.3.",
       [](S& s, const std::string& value) { s.gateway.tls_min_version = parse_tls_version(value); }},
  };
}

std::vector<ConfigKey> metering_keys() {
  using S = Settings;
  return {
      {"metering.reconcile_seconds", Type::kInteger, "60", 1, 86400, false, "How often balances are replayed.",
       integer(&S::metering, &S::Metering::reconcile_seconds)},
      {"metering.seal_seconds", Type::kInteger, "2", 1, 3600, false, "How often new transfers are sealed into the ledger's chain.",
       integer(&S::metering, &S::Metering::seal_seconds)},
      {"ledger.key_file", Type::kText, "", {}, {}, false,
       "The Ed25519 key (PEM) that signs the ledger's heads, made where it isn't there; empty: ledger/signing.key in the data directory.",
       text(&S::ledger, &S::Ledger::key_file)},
  };
}

std::vector<ConfigKey> storage_keys() {
  using S = Settings;
  return {
      {"storage.kind", Type::kText, "local", {}, {}, false,
       "Where datasets, checkpoints and adapters are kept: local (objects in the data directory) or s3 (a bucket).",
       [](S& s, const std::string& value) {
         if (value != "local" && value != "s3") throw UsageError("must be local or s3, not '" + value + "'");
         s.storage.kind = value;
       }},
      {"storage.s3_endpoint", Type::kText, "", {}, {}, false, "The bucket's server: https://s3.eu-central-1.amazonaws.com, https://HOST:PORT.",
       text(&S::storage, &S::Storage::s3_endpoint)},
      {"storage.s3_region", Type::kText, "us-east-1", {}, {}, false, "Its region, which requests are signed for.",
       text(&S::storage, &S::Storage::s3_region)},
      {"storage.s3_bucket", Type::kText, "", {}, {}, false, "The bucket, in the path of its URLs.", text(&S::storage, &S::Storage::s3_bucket)},
      {"storage.s3_prefix", Type::kText, "", {}, {}, false, "What the objects' names begin with, a slash at its end; for a bucket that is shared.",
       text(&S::storage, &S::Storage::s3_prefix)},
      {"storage.s3_access_key_id", Type::kText, "", {}, {}, true, "Who signs the requests; empty: in storage.s3_credentials_file.",
       text(&S::storage, &S::Storage::s3_access_key_id)},
      {"storage.s3_secret_access_key", Type::kText, "", {}, {}, true, "What they are signed by.",
       text(&S::storage, &S::Storage::s3_secret_access_key)},
      {"storage.s3_session_token", Type::kText, "", {}, {}, true, "Of temporary credentials alone.", text(&S::storage, &S::Storage::s3_session_token)},
      {"storage.s3_credentials_file", Type::kText, "", {}, {}, false,
       "A file, of mode 600, with lines AWS_ACCESS_KEY_ID=..., AWS_SECRET_ACCESS_KEY=... and, of temporary ones, AWS_SESSION_TOKEN=....",
       text(&S::storage, &S::Storage::s3_credentials_file)},
      {"storage.s3_ca_file", Type::kText, "", {}, {}, false, "Certificates (PEM) that the server's is trusted by, beside the system's.",
       text(&S::storage, &S::Storage::s3_ca_file)},
      {"storage.s3_timeout_seconds", Type::kInteger, "30", 1, 3600, false,
       "A request to the bucket is given up once no byte has moved for so long, and tried again a few times.",
       integer(&S::storage, &S::Storage::s3_timeout_seconds)},
      {"storage.cache_bytes", Type::kInteger, "10737418240", 0, 1e15, false,
       "What copies of the bucket's objects may take of a worker's disk (cache in the data directory), the least used going first; 0: none are kept.",
       integer(&S::storage, &S::Storage::cache_bytes)},
  };
}

/// Puts more keys in, each behind the others of its section.
std::vector<ConfigKey> joined(std::vector<ConfigKey> keys, std::initializer_list<std::vector<ConfigKey>> groups) {
  const auto section = [](const ConfigKey& key) { return key.name.substr(0, key.name.find('.') + 1); };
  for (const auto& group : groups)
    for (const ConfigKey& key : group) {
      const auto last = std::find_if(keys.rbegin(), keys.rend(), [&](const ConfigKey& one) { return section(one) == section(key); });
      keys.insert(last == keys.rend() ? keys.end() : last.base(), key);
    }
  return keys;
}

}  // namespace

const std::vector<ConfigKey>& config_table() {
  using S = Settings;
  static const std::vector<ConfigKey> table{
      {"data_directory", Type::kText, "var/data", {}, {}, false, "Where datasets, models and adapters are kept.",
       [](S& s, const std::string& v) { s.data_directory = v; }},
      {"log.level", Type::kText, "info", {}, {}, false, "debug, info, warn or error.",
       [](S& s, const std::string& v) { s.log_level = parse_log_level(v); }},
      {"database.url", Type::kText, "", {}, {}, true, "PostgreSQL, as libpq reads it: postgresql:///finetuned?host=/run/postgresql",
       text(&S::database, &S::Database::url)},
      {"database.owner_url", Type::kText, "", {}, {}, true,
       "The tables' owner, as whom finetuned migrate, backup and restore connect; empty: database.url.",
       text(&S::database, &S::Database::owner_url)},
      {"database.pool_size", Type::kInteger, "8", 1, 256, false, "Connections a role opens at most; a gateway as many as it has blocking_threads and storage_threads together where those are more, and one for each of its io_threads.",
       integer(&S::database, &S::Database::pool_size)},
      {"database.statement_timeout_ms", Type::kInteger, "10000", 100, 600000, false, "The longest a statement may take.",
       integer(&S::database, &S::Database::statement_timeout_ms)},
      {"redis.socket", Type::kText, "", {}, {}, false, "Redis's unix socket; where it is empty, host and port count.",
       text(&S::redis, &S::Redis::socket)},
      {"redis.host", Type::kText, "127.0.0.1", {}, {}, false, "Redis's host.", text(&S::redis, &S::Redis::host)},
      {"redis.port", Type::kInteger, "6379", 1, 65535, false, "Redis's port.", integer(&S::redis, &S::Redis::port)},
      {"redis.timeout_ms", Type::kInteger, "2000", 10, 60000, false, "The longest a Redis command may take.",
       integer(&S::redis, &S::Redis::timeout_ms)},
      {"gateway.address", Type::kText, "127.0.0.1", {}, {}, false, "The address that the gateway listens on.",
       text(&S::gateway, &S::Gateway::address)},
      {"gateway.port", Type::kInteger, "8080", 0, 65535, false, "Its port; 0 lets the system choose one.",
       integer(&S::gateway, &S::Gateway::port)},
      {"gateway.io_threads", Type::kInteger, "2", 1, 64, false, "Threads that read and write sockets.",
       integer(&S::gateway, &S::Gateway::io_threads)},
      {"gateway.blocking_threads", Type::kInteger, "8", 1, 256, false, "Threads for database and Redis.",
       integer(&S::gateway, &S::Gateway::blocking_threads)},
      {"gateway.max_connections", Type::kInteger, "10000", 1, 1000000, false, "Open connections at most.",
       integer(&S::gateway, &S::Gateway::max_connections)},
      {"gateway.max_upload_bytes", Type::kInteger, "536870912", 1024, 1e13, false, "The largest file of POST /v1/files.",
       integer(&S::gateway, &S::Gateway::max_upload_bytes)},
      {"gateway.max_json_bytes", Type::kInteger, "1048576", 1024, 1e8, false, "The largest JSON body.",
       integer(&S::gateway, &S::Gateway::max_json_bytes)},
      {"gateway.header_timeout_seconds", Type::kInteger, "10", 1, 600, false, "A request's head must arrive within this.",
       integer(&S::gateway, &S::Gateway::header_timeout_seconds)},
      {"gateway.idle_timeout_seconds", Type::kInteger, "75", 1, 3600, false, "An idle connection is closed after this.",
       integer(&S::gateway, &S::Gateway::idle_timeout_seconds)},
      {"gateway.request_timeout_seconds", Type::kInteger, "30", 1, 3600, false,
       "A JSON request is answered within this; uploads have a minimum rate instead.",
       integer(&S::gateway, &S::Gateway::request_timeout_seconds)},
      {"gateway.drain_seconds", Type::kInteger, "25", 1, 3600, false, "SIGTERM waits this long for requests in flight.",
       integer(&S::gateway, &S::Gateway::drain_seconds)},
      {"intake.max_row_bytes", Type::kInteger, "4194304", 1024, 1e9, false, "The longest line of a dataset.",
       integer(&S::intake, &S::Intake::max_row_bytes)},
      {"intake.max_reported_faults", Type::kInteger, "1000", 1, 1e6, false, "Faults kept in a report; all are counted.",
       integer(&S::intake, &S::Intake::max_reported_faults)},
      {"intake.lease_seconds", Type::kInteger, "60", 5, 3600, false, "A file whose reader died is read again after this.",
       integer(&S::intake, &S::Intake::lease_seconds)},
      {"scheduler.sweep_seconds", Type::kInteger, "5", 1, 3600, false, "How often leases and streams are checked.",
       integer(&S::scheduler, &S::Scheduler::sweep_seconds)},
      {"scheduler.max_attempts", Type::kInteger, "3", 1, 100, false, "A job that crashed so many workers fails.",
       integer(&S::scheduler, &S::Scheduler::max_attempts)},
      {"scheduler.preempt_after_seconds", Type::kInteger, "60", 0, 86400, false,
       "A project that has waited so long without a running job has a job of a project over its share make room; 0: never.",
       integer(&S::scheduler, &S::Scheduler::preempt_after_seconds)},
      {"scheduler.preempt_pause_seconds", Type::kInteger, "1200", 0, 86400, false,
       "A job that has made room does not do so again for this long.",
       integer(&S::scheduler, &S::Scheduler::preempt_pause_seconds)},
  };
  static const std::vector<ConfigKey> all =
      joined(table, {storage_keys(), metering_keys(), worker_keys(), webhooks_keys(), object_call_keys(), generation_keys(), limits_keys(),
                     tls_keys(), inference_keys()});
  return all;
}

}  // namespace finetuned::base
