#include <CLI/CLI.hpp>
#include <boost/json/value_from.hpp>
#include <cstdio>
#include <functional>
#include <iostream>

#include "base/errors.h"
#include "base/money.h"
#include "billing/donation_verdicts.h"
#include "services/operator_commands.h"
#include "services/worker_commands.h"
#include "storage/audit_store.h"
#include "storage/donation_store.h"
#include "storage/worker_store.h"

namespace finetuned::services {

namespace {

using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;
using storage::DonationStore;

Pool connect(const ProgramOptions& options) { return Pool(pool_options(options.settings(), "operator", 1)); }

void print_workers(const std::vector<storage::WorkerRow>& workers) {
  std::printf("%-30s %-20s %-8s %-40s %-6s %s\n", "worker", "machine", "whose", "device", "state", "job");
  for (const storage::WorkerRow& worker : workers)
    std::printf("%-30s %-20s %-8s %-40s %-6s %s\n", worker.name.c_str(), worker.known_as.value_or("-").c_str(), worker.whose.c_str(), worker.device.c_str(),
                worker.alive ? "up" : "silent", worker.job_id.value_or("-").c_str());
}

void print_donated(const std::vector<storage::DonatedTotals>& donated) {
  if (donated.empty()) return;
  std::printf("\n%-20s %-30s %-10s %12s %16s %16s %16s %6s %9s %8s %8s  %s\n", "donated", "project", "state", "tokens", "earned", "pending", "forfeited",
              "agreed", "disagreed", "given up", "waiting", "why");
  for (const storage::DonatedTotals& one : donated) {
    const char* state = one.worker.stopped_at ? "stopped" : one.worker.withdrawn_at ? "withdrawn" : "donated";
    std::printf("%-20s %-30s %-10s %12lld %16s %16s %16s %6lld %9lld %8lld %8lld  %s\n", one.worker.name.c_str(), one.worker.project_id.c_str(), state,
                static_cast<long long>(one.tokens), base::format_points(one.earned_micro).c_str(),
                base::format_points(one.pending_micro).c_str(), base::format_points(one.forfeited_micro).c_str(),
                static_cast<long long>(one.agreed), static_cast<long long>(one.disagreed), static_cast<long long>(one.given_up),
                static_cast<long long>(one.waiting), one.worker.stop_reason.value_or("").c_str());
  }
}

void list(const ProgramOptions& options) {
  Pool pool = connect(options);
  std::vector<storage::WorkerRow> workers;
  std::vector<storage::DonatedTotals> donated;
  pool.transact(Scope::system(), [&](Transaction& tx) {
    workers = storage::WorkerStore(tx).list();
    donated = DonationStore(tx).list();
  });
  print_workers(workers);
  print_donated(donated);
}

storage::DonatedWorker find_donated(Transaction& tx, const std::string& name) {
  const auto found = DonationStore(tx).find(name);
  if (!found) throw base::UsageError("no worker was donated under the name '" + name + "' (admin workers list; admin workers donate)");
  return *found;
}

/// Into the log of the organization whose project earns.
void audit(Transaction& tx, const storage::DonatedWorker& worker, const char* type, boost::json::object data) {
  const auto project = storage::OrganizationStore(tx).find_project(worker.project_id);
  storage::AuditStore(tx).record({project->organization_id, project->id, type, std::nullopt, {{"id", worker.name}, {"data", std::move(data)}}});
}

/// An act that concerns everybody whose jobs that machine may train: into the log of each.
void audit_everywhere(Transaction& tx, const std::string& name, const char* type) {
  const auto organizations = tx.execute("SELECT id FROM organization ORDER BY id");
  for (std::size_t i = 0; i < organizations.size(); ++i)
    storage::AuditStore(tx).record({organizations.row(i).text("id"), std::nullopt, type, std::nullopt, {{"id", name}}});
}

void donate(const ProgramOptions& options, const std::string& name, const std::string& project_name) {
  Pool pool = connect(options);
  std::vector<std::string> own;
  bool first = false;
  const bool news = pool.transact(Scope::system(), [&](Transaction& tx) {
    const storage::Project project = find_project(tx, project_name);
    first = !DonationStore(tx).any();
    own = DonationStore(tx).own_all_but(name);
    if (!DonationStore(tx).donate(name, project.id)) return false;
    boost::json::object data{{"project_id", project.id}};
    if (!own.empty()) data["own"] = boost::json::value_from(own);
    audit(tx, find_donated(tx, name), "worker.donated", std::move(data));
    return true;
  });
  std::cout << name << (news ? " is donated: from its next job on it earns points\n" : " is donated already\n");
  for (const std::string& one : own) std::cout << one << ", whose worker was seen here in the last day, is your own from now on\n";
  if (first) std::cout << "Each other machine gets no jobs until you name it: finetuned admin workers own NAME\n";
}

void own(const ProgramOptions& options, const std::string& name) {
  Pool pool = connect(options);
  const bool news = pool.transact(Scope::system(), [&](Transaction& tx) {
    DonationStore donations(tx);
    if (donations.find(name)) throw base::UsageError(name + " was donated: such a name stays so; run your own machine under another host name");
    if (!donations.own(name)) return false;
    audit_everywhere(tx, name, "worker.owned");
    return true;
  });
  std::cout << name << (news ? " is your own: it gets jobs, and checks those of donated machines\n" : " is your own already\n");
}

void disown(const ProgramOptions& options, const std::string& name) {
  Pool pool = connect(options);
  const auto ended = pool.transact(Scope::system(), [&](Transaction& tx) {
    DonationStore donations(tx);
    if (!donations.disown(name)) throw base::UsageError("no machine of your own is named '" + name + "' (admin workers list)");
    audit_everywhere(tx, name, "worker.disowned");
    return donations.end_leases(name);
  });
  std::cout << name << " is not your own any more: where machines are donated it gets no jobs; " << ended.size()
            << " of its running jobs go on elsewhere\n";
}

/// Its jobs go on elsewhere, from what it last saved.
void take_jobs_away(Pool& pool, const std::string& name, const std::string& reason, const char* type,
                    const std::function<bool(DonationStore&)>& mark, const char* done) {
  const auto ended = pool.transact(Scope::system(), [&](Transaction& tx) {
    DonationStore donations(tx);
    find_donated(tx, name);
    if (!mark(donations)) throw base::UsageError(name + " is " + done + " already (admin workers list)");
    const auto jobs = donations.end_leases(name);
    audit(tx, find_donated(tx, name), type, {{"reason", reason}});
    return jobs;
  });
  std::cout << name << " is " << done << ": it gets no jobs; " << ended.size() << " of its running jobs go on elsewhere\n";
}

void allow(const ProgramOptions& options, const std::string& name) {
  Pool pool = connect(options);
  pool.transact(Scope::system(), [&](Transaction& tx) {
    find_donated(tx, name);
    if (!DonationStore(tx).allow(name)) throw base::UsageError(name + " is not stopped (admin workers list)");
    audit(tx, find_donated(tx, name), "worker.allowed", {});
  });
  std::cout << name << " may have jobs again\n";
}

/// The operator's word, where no check can be run.
void settle(const ProgramOptions& options, const std::string& name, bool forfeit, const std::string& reason) {
  Pool pool = connect(options);
  if (forfeit) {
    const auto lost = pool.transact(Scope::system(), [&](Transaction& tx) {
      find_donated(tx, name);
      return billing::distrust(tx, name, reason);
    });
    std::cout << name << " is stopped and forfeits " << base::format_points(lost.micro_points) << "; jobs it touches: " << lost.jobs.size() << "\n";
    return;
  }
  const auto settled = pool.transact(Scope::system(), [&](Transaction& tx) {
    const storage::DonatedWorker worker = find_donated(tx, name);
    const auto ids = billing::settle_stretches(tx, name);
    if (!ids.empty()) audit(tx, worker, "worker.settled", {{"stretches", static_cast<std::int64_t>(ids.size())}, {"reason", reason}});
    return ids;
  });
  std::cout << settled.size() << " stretches of " << name << " are vested by your word\n";
}

CLI::App& add_named(CLI::App& workers, const char* command, const char* help, const std::shared_ptr<std::string>& name) {
  CLI::App& added = *workers.add_subcommand(command, help);
  added.add_option("name", *name, "what the worker's machine is called: its host name, before the colon of its process")->required();
  return added;
}

}  // namespace

void add_worker_commands(CLI::App& admin, const ProgramOptions& options) {
  CLI::App& workers = *admin.add_subcommand("workers", "who trains: workers of the last day and their jobs; donated ones, and what they earned");
  workers.require_subcommand(0, 1);
  workers.callback([&workers, &options] {
    if (workers.get_subcommands().empty()) list(options);
  });
  workers.add_subcommand("list", "the same")->callback([&options] { list(options); });
  const auto name = std::make_shared<std::string>(), project = std::make_shared<std::string>(),
             reason = std::make_shared<std::string>("by the operator");
  CLI::App& donated = add_named(workers, "donate", "from its next job on it earns points for a project, and is checked", name);
  donated.add_option("--project", *project, "who earns: its id or name")->required();
  donated.callback([name, project, &options] { donate(options, *name, *project); });
  add_named(workers, "own", "a machine of yours, where others are donated: it gets jobs, and checks theirs", name)
      .callback([name, &options] { own(options, *name); });
  add_named(workers, "disown", "it gets no jobs, where others are donated", name).callback([name, &options] { disown(options, *name); });
  add_named(workers, "withdraw", "it gets no jobs; what it earned stays", name).callback([name, &options] {
    Pool pool = connect(options);
    take_jobs_away(pool, *name, "withdrawn by the operator", "worker.withdrawn", [&](DonationStore& store) { return store.withdraw(*name); }, "withdrawn");
  });
  CLI::App& stop = add_named(workers, "stop", "it gets no jobs until it is allowed again", name);
  stop.add_option("--reason", *reason, "stands in its row and in the audit log")->capture_default_str();
  stop.callback([name, reason, &options] {
    Pool pool = connect(options);
    take_jobs_away(pool, *name, *reason, "worker.stopped", [&](DonationStore& store) { return store.stop(*name, *reason); }, "stopped");
  });
  const auto forfeit = std::make_shared<bool>(false);
  CLI::App& settled = add_named(workers, "settle", "vest what waits for checks that nobody runs, by your word", name);
  settled.add_flag("--forfeit", *forfeit, "the other way: as if a check had disagreed");
  settled.add_option("--reason", *reason, "stands in the audit log")->capture_default_str();
  settled.callback([name, forfeit, reason, &options] { settle(options, *name, *forfeit, *reason); });
  add_named(workers, "allow", "a stopped one may have jobs again", name).callback([name, &options] { allow(options, *name); });
}

}  // namespace finetuned::services
