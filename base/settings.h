#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/log.h"

namespace finetuned::base {

enum class TlsVersion { k1_2, k1_3 };

/// The platform's configuration, checked. One struct for all roles: they run from one file.
struct Settings {
  std::filesystem::path data_directory;
  LogLevel log_level = LogLevel::kInfo;

  struct Storage {
    std::string kind;           ///< `local`: a disk, in the data directory; `s3`: a bucket
    std::string s3_endpoint;    ///< https://HOST[:PORT]
    std::string s3_region;
    std::string s3_bucket;
    std::string s3_prefix;      ///< before the objects' names; empty, or ends in a slash
    std::string s3_access_key_id;
    std::string s3_secret_access_key;
    std::string s3_session_token;
    std::string s3_credentials_file;  ///< KEY=VALUE lines of the three above
    std::string s3_ca_file;
    int s3_timeout_seconds = 0;
    std::int64_t cache_bytes = 0;
  } storage;

  struct Database {
    std::string url;        ///< libpq connection string or URI
    std::string owner_url;  ///< of the tables' owner, for `finetuned migrate`; empty: url
    int pool_size = 0;
    int statement_timeout_ms = 0;
  } database;

  struct Redis {
    std::string socket;  ///< unix socket path; wins over host and port when set
    std::string host;
    int port = 0;
    int timeout_ms = 0;
  } redis;

  struct Gateway {
    std::string address;
    int port = 0;
    int io_threads = 0;
    int blocking_threads = 0;
    int storage_threads = 0;
    int storage_timeout_seconds = 0;
    int max_connections = 0;
    std::int64_t max_upload_bytes = 0;
    std::int64_t max_json_bytes = 0;
    int header_timeout_seconds = 0;
    int idle_timeout_seconds = 0;
    int request_timeout_seconds = 0;
    int drain_seconds = 0;
    int generation_seconds = 0;
    int max_generations = 0;
    std::int64_t requests_per_minute_per_key = 0;
    std::int64_t requests_per_minute_per_project = 0;
    std::int64_t tokens_per_minute_per_project = 0;
    int limits_timeout_ms = 0;
    std::string tls_certificate_file;  ///< empty: plain HTTP
    std::string tls_key_file;          ///< empty together with the other alone
    TlsVersion tls_min_version = TlsVersion::k1_2;
  } gateway;

  struct Intake {
    int max_row_bytes = 0;
    int max_reported_faults = 0;
    int lease_seconds = 0;
  } intake;

  struct Scheduler {
    int sweep_seconds = 0;
    int max_attempts = 0;
    int preempt_after_seconds = 0;  ///< 0: never
    int preempt_pause_seconds = 0;
  } scheduler;

  struct Worker {
    std::string device;
    int threads = 0;  ///< 0: all cores
    int lease_seconds = 0;
    int heartbeat_seconds = 0;
    int state_seconds = 0;          ///< 0: only where a job is stopped
    int state_steps = 0;            ///< 0: not by steps
    int storage_patience_seconds = 0;
    std::int64_t memory_bytes = 0;  ///< 0: what the machine has free
    int peer_timeout_seconds = 0;
  } worker;

  struct Inference {
    bool enabled = true;
    int batch = 0;
    int queue = 0;
    std::int64_t memory_bytes = 0;  ///< 0: a quarter of what the device has
    int threads = 0;                ///< 0: as worker.threads
  } inference;

  struct Metering {
    int reconcile_seconds = 0;
    int seal_seconds = 0;
  } metering;

  struct Ledger {
    std::string key_file;  ///< empty: kept in the data directory
  } ledger;

  struct Webhooks {
    std::string secret_key;     ///< 32 bytes in base64; empty: kept in the data directory
    std::string allowed_hosts;  ///< HOST:PORT,HOST:PORT
    std::string ca_file;
  } webhooks;
};

/// Reads the TOML file (where given), then FINETUNED_* variables over it. Unknown keys fail. Throws ConfigError with
/// every fault at once, a line each.
Settings load_settings(const std::optional<std::filesystem::path>& toml_file);

}  // namespace finetuned::base
