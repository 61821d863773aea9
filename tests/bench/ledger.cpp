// What the ledger does a second, on an empty database of its own: bench_ledger DATABASE_URL [SECONDS] [ROWS]
// tests/bench/ledger starts that database, and ends it.

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <sstream>
#include <thread>
#include <vector>

#include "base/ids.h"
#include "billing/admission.h"
#include "billing/ledger.h"
#include "billing/sealer.h"
#include "billing/verify.h"
#include "storage/postgres/migrator.h"
#include "tests/integration/support/tenants.h"

namespace finetuned {
namespace {

using postgres::Scope;
using postgres::Transaction;
using Clock = std::chrono::steady_clock;

constexpr int kClients = 8;
constexpr int kProjects = 16;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

/// CPU that this process and all of the server's have taken, in seconds: what is left of a rate when others share the cores.
class CpuClock {
 public:
  explicit CpuClock(postgres::Pool& pool)
      : postmaster_(parent_of(pool.transact(Scope::system(), [](Transaction& tx) {
          return tx.execute("SELECT pg_backend_pid() AS pid").row(0).integer("pid");
        }))) {}

  double seconds() const {
    double ticks = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const auto stat = stat_of(std::stoll(name));
      const bool is_postmaster = std::stoll(name) == postmaster_;
      if (stat.size() < 17 || !(is_postmaster || std::stoll(name) == ::getpid() || std::stoll(stat[3]) == postmaster_)) continue;
      ticks += std::stod(stat[13]) + std::stod(stat[14]);
      if (is_postmaster) ticks += std::stod(stat[15]) + std::stod(stat[16]);  // of its children that have ended
    }
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }

 private:
  /// The fields of /proc/PID/stat, the second one (a name in brackets) as one.
  static std::vector<std::string> stat_of(std::int64_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    std::getline(file, line);
    const auto end = line.rfind(')');
    if (end == std::string::npos) return {};
    std::vector<std::string> fields{std::to_string(pid), "name"};
    std::istringstream rest(line.substr(end + 1));
    for (std::string field; rest >> field;) fields.push_back(field);
    return fields;
  }
  static std::int64_t parent_of(std::int64_t pid) { return std::stoll(stat_of(pid).at(3)); }

  std::int64_t postmaster_;
};

/// A row of the table: `count` in so many seconds of the wall's and of all processors' time.
void row(const std::string& what, const char* unit, std::int64_t count, double wall, double cpu, double goal) {
  const double rate = static_cast<double>(count) / wall;
  std::printf("| %s | %.0f %s | %.2f | %.0f |", what.c_str(), rate, unit, cpu / wall, static_cast<double>(count) / cpu);
  if (goal > 0) std::printf(" %.0f |\n", goal);
  else std::puts(" |");
  std::fflush(stdout);
}

struct Bench {
  postgres::Pool& pool;
  double seconds;
  CpuClock cpu{pool};
  storage::BaseModel model = tests::make_base_model(pool);
  std::vector<storage::Project> projects{};
  std::vector<storage::File> files{};

  /// Lets the clients together do `work(n)` for a while.
  void measure(const std::string& what, const char* unit, double goal, const std::function<void(std::int64_t)>& work) {
    std::atomic<std::int64_t> next{0}, done{0};
    const double cpu_before = cpu.seconds();
    const auto began = Clock::now();
    {
      std::vector<std::jthread> clients;
      for (int client = 0; client < kClients; ++client)
        clients.emplace_back([&] {
          for (; seconds_since(began) < seconds; ++done) work(next++);
        });
    }
    row(what, unit, done, seconds_since(began), cpu.seconds() - cpu_before, goal);
  }

  void make_tenants() {
    for (int i = 0; i < kProjects; ++i) {
      projects.push_back(tests::make_project(pool));
      files.push_back(tests::make_counted_file(pool, projects.back(), model, std::vector<std::uint32_t>(100, 50)));
      tests::give_credit(pool, projects.back(), std::int64_t{1} << 60);
    }
  }

  void bare_commits() {
    pool.transact(Scope::system(), [](Transaction& tx) { tx.execute("CREATE TABLE bare (n bigint)"); });
    measure("a bare row a commit", "commits/s", 0, [&](std::int64_t n) {
      pool.transact(Scope::system(), [&](Transaction& tx) { tx.execute("INSERT INTO bare VALUES ($1)", {n}); });
    });
  }

  void jobs() {
    measure("quote, hold, job, events and outbox row in one commit, 16 projects", "jobs/s", 500, [&](std::int64_t n) {
      const auto at = static_cast<std::size_t>(n) % kProjects;
      pool.transact(Scope::project(projects[at].id), [&](Transaction& tx) {
        billing::create_job(tx, tests::new_job(projects[at], model, files[at]));
      });
    });
  }

  void hot_account() {
    const std::string job = pool.transact(Scope::project(projects[0].id), [&](Transaction& tx) {
      return billing::create_job(tx, tests::new_job(projects[0], model, files[0])).id;
    });
    std::vector<std::string> holds(static_cast<std::size_t>(seconds * 1'500));
    pool.transact(Scope::system(), [&](Transaction& tx) {
      billing::Ledger ledger(tx);
      for (std::string& hold : holds)
        ledger.hold(hold = base::make_uuid(), projects[0].id, {10}, job, 1);
    });
    measure("posts to one account", "posts/s", 200, [&](std::int64_t n) {
      if (static_cast<std::size_t>(n) >= holds.size()) std::abort();  // more than can be believed
      pool.transact(Scope::project(projects[0].id), [&](Transaction& tx) {
        billing::Ledger(tx).post(base::make_uuid(), holds[static_cast<std::size_t>(n)], {7}, "bench");
      });
    });
  }

  /// Credits by the thousand, as the ledger would have written them.
  void fill(std::int64_t rows) {
    pool.transact(
        Scope::system(),
        [&](Transaction& tx) {
          tx.execute(
              "WITH account_of AS (SELECT row_number() OVER (ORDER BY p.id) - 1 AS number, p.project_id, p.id AS prepaid, f.id AS funding"
              "  FROM account p JOIN account f ON f.project_id = p.project_id AND f.kind = 'funding' AND f.ledger = 'USD_NANO'"
              "  WHERE p.kind = 'prepaid' AND p.ledger = 'USD_NANO')"
              " INSERT INTO transfer (id, project_id, ledger, debit_id, credit_id, amount, kind, reason)"
              " SELECT gen_random_uuid(), a.project_id, 'USD_NANO', a.funding, a.prepaid, 1, 'single', 'credit ' || n"
              " FROM generate_series(1, $1::bigint) n JOIN account_of a ON a.number = n % $2::bigint",
              {rows, kProjects});
          tx.execute(
              "UPDATE account a SET credits_posted = credits_posted + m.n FROM (SELECT credit_id, count(*) AS n FROM transfer"
              " WHERE reason LIKE 'credit %' GROUP BY 1) m WHERE a.id = m.credit_id");
          tx.execute(
              "UPDATE account a SET debits_posted = debits_posted + m.n FROM (SELECT debit_id, count(*) AS n FROM transfer"
              " WHERE reason LIKE 'credit %' GROUP BY 1) m WHERE a.id = m.debit_id");
        },
        std::chrono::minutes(10));
    pool.transact(
        Scope::system(), [](Transaction& tx) { tx.execute("ANALYZE"); }, std::chrono::minutes(10));
  }

  void books() {
    double cpu_before = cpu.seconds();
    auto began = Clock::now();
    std::int64_t sealed = 0;
    for (std::size_t more = 1; more > 0; sealed += static_cast<std::int64_t>(more))
      more = pool.transact(Scope::system(), [](Transaction& tx) { return billing::seal_transfers(tx, 2'000); });
    row("transfers sealed into the chain", "rows/s", sealed, seconds_since(began), cpu.seconds() - cpu_before, 0);
    cpu_before = cpu.seconds();
    began = Clock::now();
    auto found = billing::verify_books(pool, {});
    const double wall = seconds_since(began), taken = cpu.seconds() - cpu_before;
    std::erase_if(found.faults, [](const auto& fault) { return fault.detail.ends_with("the job does not name it"); });  // of the hot account
    for (const auto& fault : found.faults) std::cerr << fault.rule << ": " << fault.detail << "\n";
    if (!found.faults.empty() || found.sealed != found.transfers + found.usages) std::exit(1);
    row("`ledger verify` of " + std::to_string(found.transfers) + " transfers, all of it", "rows/s", found.transfers, wall, taken, 50'000);
  }
};

}  // namespace
}  // namespace finetuned

int main(int argc, char** argv) {
  using namespace finetuned;
  if (argc < 2) {
    std::cerr << "usage: bench_ledger DATABASE_URL [SECONDS] [ROWS]\n";
    return 2;
  }
  postgres::Pool pool({.url = argv[1],
                       .connections = kClients,
                       .statement_timeout = std::chrono::minutes(10),
                       .checkout_timeout = std::chrono::minutes(1)});
  postgres::migrate(pool, postgres::embedded_migrations());
  Bench bench{.pool = pool, .seconds = argc > 2 ? std::atof(argv[2]) : 10};
  bench.make_tenants();
  std::puts("| what | measured | cores it had | per second of CPU | goal |\n|---|---|---|---|---|");
  bench.bare_commits();
  bench.jobs();
  bench.hot_account();
  bench.fill(argc > 3 ? std::atoll(argv[3]) : 500'000);
  bench.books();
}
