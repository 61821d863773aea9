#include "services/doctor_checks.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>

#include "base/errors.h"
#include "base/files.h"
#include "base/ids.h"
#include "billing/ledger_head.h"
#include "services/parts.h"
#include "storage/donation_store.h"
#include "storage/objects/open_store.h"
#include "storage/postgres/migrator.h"
#include "storage/worker_store.h"

namespace finetuned::services {

namespace {

namespace fs = std::filesystem;
using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;
using Level = Check::Level;

constexpr std::int64_t kLeastServer = 150'000;
constexpr double kSkewWarning = 2, kSkewProblem = 60;  // seconds
constexpr double kFreeWarning = 0.10, kFreeProblem = 0.02;
constexpr std::chrono::milliseconds kPatience{5'000};

std::string seconds(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", value);
  return text;
}

Check check_server(Pool& pool) {
  Check check{"postgresql", Level::kOk, "", ""};
  pool.transact(Scope::system(), [&](Transaction& tx) {
    const auto rows = tx.execute(
        "SELECT current_setting('server_version_num')::bigint AS number, current_setting('server_version') AS version,"
        " current_user::text AS role, rolsuper, rolbypassrls, has_schema_privilege('public', 'CREATE') AS may_create"
        " FROM pg_roles WHERE rolname = current_user");
    const auto row = rows.row(0);
    check.detail = "version " + row.text("version") + ", as " + row.text("role");
    if (row.boolean("rolsuper") || row.boolean("rolbypassrls")) {
      check.level = Level::kProblem;
      check.detail += ", whom row-level security does not bind: projects are not kept apart";
      check.remedy = "ALTER ROLE " + row.text("role") + " NOSUPERUSER NOBYPASSRLS, or connect as another role";
    } else if (row.integer("number") < kLeastServer) {
      check.level = Level::kWarning;
      check.remedy = "PostgreSQL 15 and later are what this is tested with";
    } else if (!row.boolean("may_create")) {
      check.level = Level::kWarning;
      check.detail += ", who may not create tables";
      check.remedy = "finetuned migrate needs it: GRANT CREATE ON SCHEMA public TO " + row.text("role");
    }
  });
  return check;
}

/// Leases go by the database's clock; signed URLs, certificates and log lines by this machine's.
Check check_clock(Pool& pool) {
  const auto ask = [&] {
    return pool.transact(Scope::system(), [](Transaction& tx) {
      return tx.execute("SELECT extract(epoch FROM clock_timestamp())::double precision AS now").row(0).real("now");
    });
  };
  const auto now = [] { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); };
  const double before = now(), there = ask(), after = now();
  const double apart = std::max(0.0, std::max(before - there, there - after));
  Check check{"clock", Level::kOk, seconds(apart) + " from the database's", ""};
  if (apart >= kSkewWarning) {
    check.level = apart >= kSkewProblem ? Level::kProblem : Level::kWarning;
    check.remedy = "let both machines follow NTP: download URLs and certificates go by this one, leases by the database's";
  }
  return check;
}

Check check_migrations(Pool& pool) {
  const auto ours = postgres::embedded_migrations();
  try {
    if (postgres::is_migrated(pool, ours)) return {"migrations", Level::kOk, std::to_string(ours.size()) + ", as they were applied", ""};
    return {"migrations", Level::kProblem, "the database lacks some of " + std::to_string(ours.size()), "finetuned migrate"};
  } catch (const postgres::MigrationError& error) {
    return {"migrations", Level::kProblem, error.what(), "run the program that the database was migrated by, or a newer one"};
  }
}

Check check_redis(const base::Settings& settings) {
  redis::Client redis(redis_address(settings));
  if (redis.ping()) return {"redis", Level::kOk, "answers", ""};
  return {"redis", Level::kWarning, "does not answer: work is found by sweeps, seconds later; each gateway limits by itself",
          "start it, or correct redis.socket, redis.host and redis.port"};
}

/// On a disk nothing is made that could stay: who asks may be root, and the roles another.
Check check_store(const base::Settings& settings) {
  constexpr std::string_view kContent = "finetuned doctor";
  const bool bucket = settings.storage.kind == "s3";
  const std::string where =
      bucket ? "bucket " + settings.storage.s3_bucket + " at " + settings.storage.s3_endpoint : objects_directory(settings).string();
  if (!bucket && !fs::is_directory(objects_directory(settings)))
    return {"objects", Level::kWarning, where + " is not there yet", "a role makes it when it starts; correct data_directory where there should be one"};
  const auto store = objects::open_store(settings);
  try {
    const auto writer = store->create(kContent.size());
    writer->write(kContent);
    if (!bucket) return {"objects", Level::kOk, where + ": can be written", ""};
    const std::string id = writer->commit().id;
    const bool same = objects::read_object(*store, id, kContent.size()) == kContent;
    store->remove(id);
    if (same) return {"objects", Level::kOk, where + ": written, read and removed", ""};
    return {"objects", Level::kProblem, where + ": what was written came back otherwise", "look at the server's log; finetuned objects verify"};
  } catch (const objects::StorageFault& fault) {
    return {"objects", Level::kProblem, fault.detail, "docs/operations.md, Storage; jobs go on by themselves once it works"};
  }
}

Check check_disk(const base::Settings& settings) {
  const fs::path data = fs::absolute(settings.data_directory);
  if (!fs::is_directory(data)) return {"disk", Level::kWarning, data.string() + " is not there yet", "a role makes it when it starts; correct data_directory where there should be one"};
  struct statvfs about {};
  if (::statvfs(data.c_str(), &about) != 0) base::throw_errno("stat", data);
  const double free = about.f_blocks ? static_cast<double>(about.f_bavail) / static_cast<double>(about.f_blocks) : 0;
  char text[64];
  std::snprintf(text, sizeof text, ": %.1f GB free (%.0f%%)", static_cast<double>(about.f_bavail) * static_cast<double>(about.f_frsize) / 1e9, 100 * free);
  Check check{"disk", Level::kOk, data.string() + text, ""};
  const fs::path probe = data / ("." + base::make_id("doctor"));
  base::write_durably(probe, "finetuned doctor", 0600);
  fs::remove(probe);
  if (free < kFreeWarning) {
    check.level = free < kFreeProblem ? Level::kProblem : Level::kWarning;
    check.remedy = "make room, or move the data directory: a full disk answers uploads with 507 and pauses jobs";
  }
  return check;
}

/// The newest head of each chain, of those outside of the database: its signature, and what stands at its place.
Check check_head(Pool& pool, const base::Settings& settings) {
  std::map<std::string, billing::LedgerHead> newest;
  for (const auto& head : billing::HeadFiles(ledger_directory(settings)).read()) {
    auto& known = newest[to_string(head.ledger)];
    if (head.position >= known.position) known = head;
  }
  if (newest.empty())
    return {"ledger", Level::kWarning, "there is no signed head in " + ledger_directory(settings).string(),
            "the metering role writes it; without one an altered ledger cannot be told from a whole new one"};
  const std::string remedy = "finetuned ledger verify names the rows; docs/operations.md, Ledger";
  const fs::path key_file =
      settings.ledger.key_file.empty() ? ledger_directory(settings) / "signing.key" : fs::path(settings.ledger.key_file);
  if (!fs::exists(key_file)) return {"ledger", Level::kProblem, key_file.string() + " is not there", "bring it back from a backup"};
  const std::string key = ledger_key(settings).public_key();
  std::string told;
  for (const auto& [name, head] : newest) {
    const std::string which = "the head of " + name + " at " + std::to_string(head.position);
    if (!head.signed_by(key)) return {"ledger", Level::kProblem, which + " is not signed by this platform's key", remedy};
    const auto rows = pool.transact(Scope::system(), [&](Transaction& tx) {
      return tx.execute("SELECT hash FROM ledger_seal WHERE ledger = $1 AND position = $2", {name, head.position});
    });
    if (rows.empty()) return {"ledger", Level::kProblem, which + " lies beyond the chain: transfers are missing", remedy};
    if (rows.row(0).bytes("hash") != head.hash) return {"ledger", Level::kProblem, which + " is not the chain's: transfers were altered", remedy};
    told += (told.empty() ? "" : ", ") + name + " " + std::to_string(head.position);
  }
  return {"ledger", Level::kOk, "signed heads stand in the chains: " + told, ""};
}

Check check_workers(Pool& pool) {
  std::int64_t waiting = 0, alive = 0, refused = 0, own = 0;
  bool donated = false;
  pool.transact(Scope::system(), [&](Transaction& tx) {
    const auto workers = storage::WorkerStore(tx).list();
    for (const storage::WorkerRow& one : workers) {
      if (!one.alive) continue;
      ++(one.gets_jobs ? alive : refused);
      own += one.whose == "own";
    }
    donated = storage::DonationStore(tx).any();
    waiting = tx.execute("SELECT count(*) AS jobs FROM job WHERE state = 'queued'").row(0).integer("jobs");
  });
  Check check{"workers", Level::kOk, std::to_string(alive) + " alive, " + std::to_string(waiting) + " jobs queued", ""};
  if (refused > 0) check.detail += "; " + std::to_string(refused) + " more get none: nobody named their machines, or they are withdrawn or stopped";
  if (alive == 0) {
    check.level = waiting > 0 ? Level::kProblem : Level::kWarning;
    check.remedy = "start one: finetuned worker, or finetuned serve";
  }
  if (donated && own == 0) {
    check.level = std::max(check.level, Level::kWarning);
    check.detail += "; machines are donated, and none of the workers is your own: nobody checks what they train";
    check.remedy = "start one of your own, and name its machine: finetuned admin workers own NAME";
  }
  return check;
}

Check check_paused(Pool& pool) {
  const auto jobs = pool.transact(Scope::system(), [](Transaction& tx) {
    return tx.execute("SELECT count(*) AS jobs FROM job WHERE pause_reason IS NOT NULL").row(0).integer("jobs");
  });
  if (jobs == 0) return {"storage pauses", Level::kOk, "no job waits for the storage", ""};
  return {"storage pauses", Level::kWarning, std::to_string(jobs) + " jobs wait for the storage",
          "look at `objects` and `disk` above, on each worker's machine; they go on by themselves"};
}

}  // namespace

const char* to_string(Check::Level level) {
  return level == Level::kOk ? "ok" : level == Level::kWarning ? "warning" : "problem";
}

std::vector<Check> check_platform(const base::Settings& settings) {
  postgres::PoolOptions options = pool_options(settings, "doctor", 1);
  options.statement_timeout = std::min(options.statement_timeout, kPatience);
  Pool pool(options);
  std::vector<Check> checks;
  const auto look = [&](const char* name, const char* remedy, const std::function<Check()>& work) {
    try {
      checks.push_back(work());
    } catch (const std::exception& error) {
      checks.push_back({name, Level::kProblem, error.what(), remedy});
    }
    return checks.back().level != Level::kProblem;
  };
  const bool server = pool.answers(kPatience);
  if (server) {
    look("postgresql", "look at PostgreSQL's log", [&] { return check_server(pool); });
    look("clock", "look at PostgreSQL's log", [&] { return check_clock(pool); });
  } else {
    checks.push_back({"postgresql", Level::kProblem, "does not answer", "start it, or correct database.url; requests are answered with 503 meanwhile"});
  }
  const bool migrated = server && look("migrations", "finetuned migrate", [&] { return check_migrations(pool); });
  look("redis", "start it", [&] { return check_redis(settings); });
  look("objects", "correct the storage.* settings", [&] { return check_store(settings); });
  look("disk", "docs/operations.md, Storage", [&] { return check_disk(settings); });
  if (!migrated) return checks;
  look("ledger", "finetuned ledger verify", [&] { return check_head(pool, settings); });
  look("workers", "start one", [&] { return check_workers(pool); });
  look("storage pauses", "look at the database", [&] { return check_paused(pool); });
  return checks;
}

}  // namespace finetuned::services
