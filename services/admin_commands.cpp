#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "base/errors.h"
#include "base/ids.h"
#include "base/uuid.h"
#include "billing/credit_limits.h"
#include "billing/ledger.h"
#include "services/bootstrap.h"
#include "services/cli/api_commands.h"
#include "services/operator_commands.h"
#include "services/worker_commands.h"
#include "storage/audit_store.h"
#include "storage/key_store.h"
#include "storage/organization_store.h"

namespace finetuned::services {

namespace {

using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;
using storage::OrganizationStore;

constexpr int kPageRows = 1'000;

/// A connection for one command.
Pool connect(const ProgramOptions& options) { return Pool(pool_options(options.settings(), "operator", 1)); }

/// Into the log, without an actor: the operator stands outside every organization.
void audit(Transaction& tx, const std::string& organization_id, const std::optional<std::string>& project_id,
           const std::string& type, boost::json::object payload) {
  storage::AuditStore(tx).record({organization_id, project_id, type, std::nullopt, std::move(payload)});
}

/// Every row of a cursor list.
template <class Row, class List>
std::vector<Row> all_pages(const List& list) {
  std::vector<Row> rows;
  storage::PageRequest request{.after = std::nullopt, .limit = kPageRows, .ascending = true};
  for (bool more = true; more;) {
    auto page = list(request);
    more = page.has_more && !page.data.empty();
    if (more) request.after = page.data.back().id;
    for (Row& row : page.data) rows.push_back(std::move(row));
  }
  return rows;
}

storage::Organization find_organization(Transaction& tx, const std::string& id_or_name) {
  OrganizationStore organizations(tx);
  auto found = organizations.find_organization(id_or_name);
  if (!found) found = organizations.find_organization_by_name(id_or_name);
  if (!found) throw base::UsageError("there is no organization '" + id_or_name + "' (admin bootstrap makes one)");
  return *found;
}

void run_bootstrap(const ProgramOptions& options, const BootstrapRequest& request, bool print_environment) {
  Pool pool = connect(options);
  const Bootstrapped made = bootstrap(pool, request);
  std::ostream& out = print_environment ? std::cerr : std::cout;
  out << "organization " << made.organization_id << "\nproject      " << made.project_id << "\navailable    "
      << base::format_dollars(made.available) << "\n";
  if (print_environment)
    std::cout << "FINETUNED_API_KEY=" << made.project_key << "\nFINETUNED_ADMIN_KEY=" << made.admin_key << "\n";
  else if (!request.keys_file.empty())
    out << "keys in      " << request.keys_file << "\n";
  else
    out << "project key  " << made.project_key << "\nadmin key    " << made.admin_key
        << "\nThe keys are shown this once only.\n";
}

void add_bootstrap(CLI::App& admin, const ProgramOptions& options) {
  struct Arguments {
    BootstrapRequest request;
    std::string credit;
    bool print_environment = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App& command = *admin.add_subcommand("bootstrap", "the first organization, project, keys and credit");
  command.add_option("--organization", arguments->request.organization, "its name")->required();
  command.add_option("--project", arguments->request.project, "its name")->required();
  command.add_option("--credit", arguments->credit, "dollars, such as 10.00; given once, however often this runs");
  command.add_option("--keys-file", arguments->request.keys_file,
                     "keep the keys here (mode 0600); a file that is there keeps its keys good");
  command.add_flag("--print-env", arguments->print_environment, "the keys as KEY=VALUE lines");
  command.callback([arguments, &options] {
    if (!arguments->credit.empty()) arguments->request.credit = base::parse_dollars(arguments->credit);
    run_bootstrap(options, arguments->request, arguments->print_environment);
  });
}

void add_credit(CLI::App& admin, const ProgramOptions& options) {
  struct Arguments {
    std::string project, amount, reason;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App& command = *admin.add_subcommand("credit", "add to a project's balance");
  command.add_option("--project", arguments->project, "its id or name")->required();
  command.add_option("--amount", arguments->amount, "dollars, such as 5.00")->required();
  command.add_option("--reason", arguments->reason, "stands in the ledger")->required();
  command.callback([arguments, &options] {
    const base::NanoDollars amount = base::parse_dollars(arguments->amount);
    if (amount.value == 0) throw base::UsageError("--amount must be more than nothing");
    const std::string transfer = base::make_uuid();
    Pool pool = connect(options);
    const billing::Balance balance = pool.transact(Scope::system(), [&](Transaction& tx) {
      const storage::Project project = find_project(tx, arguments->project);
      billing::Ledger ledger(tx);
      ledger.credit(transfer, project.id, amount, arguments->reason);
      const billing::Balance left = ledger.balance(project.id);
      audit(tx, project.organization_id, project.id, "credit.created",
            {{"id", transfer}, {"data", {{"amount", std::to_string(amount.value)}, {"reason", arguments->reason}}}});
      return left;
    });
    std::cout << "credited " << base::format_dollars(amount) << " (transfer " << transfer << "); available "
              << base::format_dollars(balance.available) << "\n";
  });
}

void add_credit_limit(CLI::App& admin, const ProgramOptions& options) {
  struct Arguments {
    std::string project, amount;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App& command = *admin.add_subcommand("credit-limit", "how much a project may owe; holds that are there stay");
  command.add_option("--project", arguments->project, "its id or name")->required();
  command.add_option("--amount", arguments->amount, "dollars, such as 50.00; 0 for prepaid; without it, nothing is changed");
  command.callback([arguments, &options] {
    std::optional<base::NanoDollars> limit;
    if (!arguments->amount.empty()) limit = base::parse_dollars(arguments->amount);
    if (limit && *limit > billing::kMostCredit)
      throw base::UsageError("--amount is at most " + base::format_dollars(billing::kMostCredit));
    Pool pool = connect(options);
    const billing::Balance balance = pool.transact(Scope::system(), [&](Transaction& tx) {
      const storage::Project project = find_project(tx, arguments->project);
      return limit ? billing::set_credit_limit(tx, project, *limit, std::nullopt) : billing::Ledger(tx).balance(project.id);
    });
    std::cout << "credit limit " << base::format_dollars(balance.credit_limit) << "; available "
              << base::format_dollars(balance.available) << "\n";
  });
}

struct CorrectionArguments {
  std::string transfer, amount, reason, id;
};

std::string in_words(billing::LedgerName ledger, billing::Amount amount) {
  return ledger == billing::LedgerName::kUsdNano ? base::format_dollars(amount) : base::format_points(amount.value);
}

/// What is left to the account; in words, with what was done.
std::string correct(Transaction& tx, const std::string& id, const CorrectionArguments& arguments) {
  const auto corrected = billing::Ledger(tx).find(arguments.transfer);
  if (!corrected) throw base::UsageError("there is no transfer " + arguments.transfer + " to correct (ledger export shows their ids)");
  const bool dollars = corrected->ledger == billing::LedgerName::kUsdNano;
  const billing::Amount amount = dollars ? base::parse_dollars(arguments.amount) : billing::Amount{base::parse_points(arguments.amount)};
  if (amount.value == 0) throw base::UsageError("--amount must be more than nothing");
  if (corrected->credit_account == to_string(billing::AccountKind::kEscrow))
    throw base::UsageError("transfer " + arguments.transfer + " is points that are not spendable: have them verified again"
                           " (admin challenges confirm), or correct the transfer that vests them");
  billing::Ledger ledger(tx, corrected->ledger);
  const bool is_new = ledger.correct(id, arguments.transfer, amount, arguments.reason);
  if (is_new && corrected->debit_account == to_string(billing::AccountKind::kEscrow))  // nothing would ever vest them there
    ledger.move_between(base::make_uuid(), corrected->project_id, billing::AccountKind::kEscrow, billing::AccountKind::kFunding, amount,
                        arguments.reason);
  const auto project = OrganizationStore(tx).find_project(corrected->project_id);
  if (is_new)
    audit(tx, project->organization_id, project->id, "transfer.corrected",
          {{"id", arguments.transfer},
           {"data", {{"correction", id}, {"amount", std::to_string(amount.value)}, {"reason", arguments.reason}}}});
  return "corrected " + arguments.transfer + " by " + in_words(corrected->ledger, amount) + " (transfer " + id + "); available " +
         in_words(corrected->ledger, ledger.balance(project->id).available);
}

void add_correction(CLI::App& admin, const ProgramOptions& options) {
  auto arguments = std::make_shared<CorrectionArguments>();
  CLI::App& command = *admin.add_subcommand("correct", "move money or points of a transfer back, by a transfer that names it");
  command.add_option("transfer", arguments->transfer, "the one that was wrong (ledger export shows their ids)")->required();
  command.add_option("--amount", arguments->amount, "dollars, or points of a transfer of points; with earlier corrections at most what it moved")
      ->required();
  command.add_option("--reason", arguments->reason, "stands in the ledger")->required();
  command.add_option("--id", arguments->id, "of the correction (UUID): repeated with the same one, this corrects once");
  command.callback([arguments, &options] {
    const std::string id = arguments->id.empty() ? base::make_uuid() : arguments->id;
    for (const std::string& given : {id, arguments->transfer})
      if (!base::is_uuid(given)) throw base::UsageError("'" + given + "' is no transfer's id: a UUID in lower case");
    Pool pool = connect(options);
    try {
      std::cout << pool.transact(Scope::system(), [&](Transaction& tx) { return correct(tx, id, *arguments); }) << "\n";
    } catch (const billing::TransferConflict& error) {
      throw base::UsageError(error.what());
    } catch (const billing::InsufficientFunds& error) {
      throw base::UsageError(error.what());
    }
  });
}

void add_key_creation(CLI::App& keys, const ProgramOptions& options) {
  struct Arguments {
    std::string project, organization, name = "key";
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App& command = *keys.add_subcommand("create", "a new key, shown once: --project P, or --organization O for admins");
  command.add_option("--project", arguments->project, "a project key for this project");
  command.add_option("--organization", arguments->organization, "an admin key for this organization");
  command.add_option("--name", arguments->name, "what the lists call it")->capture_default_str();
  command.callback([arguments, &options] {
    if (arguments->project.empty() == arguments->organization.empty())
      throw base::UsageError("give --project for a project key, or --organization for an admin key");
    Pool pool = connect(options);
    const storage::NewKey made = pool.transact(Scope::system(), [&](Transaction& tx) {
      storage::KeyStore store(tx);
      const storage::NewKey key =
          arguments->project.empty()
              ? store.create_admin_key(find_organization(tx, arguments->organization).id, arguments->name)
              : store.create_project_key(find_project(tx, arguments->project).id, arguments->name);
      audit(tx, key.key.organization_id, key.key.project_id, "api_key.created",
            {{"id", key.key.id}, {"data", {{"name", key.key.name}}}});
      return key;
    });
    std::cout << made.key.id << " " << made.secret << "\n";
    std::cerr << "The key is shown this once only.\n";
  });
}

void add_keys(CLI::App& admin, const ProgramOptions& options) {
  CLI::App& keys = *admin.add_subcommand("keys", "API keys");
  keys.require_subcommand(1);
  add_key_creation(keys, options);
  auto revoked = std::make_shared<std::string>();
  CLI::App& revoke = *keys.add_subcommand("revoke", "a key opens nothing any more");
  revoke.add_option("id", *revoked, "key-...")->required();
  revoke.callback([revoked, &options] {
    Pool pool = connect(options);
    const bool done = pool.transact(Scope::system(), [&](Transaction& tx) {
      const auto key = storage::KeyStore(tx).find(*revoked);
      if (!key || !storage::KeyStore(tx).revoke(key->id)) return false;
      audit(tx, key->organization_id, key->project_id, "api_key.deleted", {{"id", key->id}});
      return true;
    });
    if (!done) throw base::UsageError("there is no live key '" + *revoked + "' (admin keys list)");
    std::cout << "revoked " << *revoked << "\n";
  });
  auto of_project = std::make_shared<std::string>();
  CLI::App& list = *keys.add_subcommand("list", "keys by their first characters");
  list.add_option("--project", *of_project, "only this project's");
  list.callback([of_project, &options] {
    Pool pool = connect(options);
    const auto rows = pool.transact(Scope::system(), [&](Transaction& tx) {
      std::optional<std::string> project;
      if (!of_project->empty()) project = find_project(tx, *of_project).id;
      return all_pages<storage::ApiKey>(
          [&](const storage::PageRequest& request) { return storage::KeyStore(tx).list(project, request); });
    });
    std::printf("%-30s %-8s %-30s %-20s %-20s %s\n", "id", "kind", "project", "name", "begins", "state");
    for (const storage::ApiKey& key : rows)
      std::printf("%-30s %-8s %-30s %-20s %-20s %s\n", key.id.c_str(),
                  key.kind == storage::KeyKind::kAdmin ? "admin" : "project", key.project_id.value_or("-").c_str(),
                  key.name.c_str(), key.shown_prefix.c_str(), key.revoked_at ? "revoked" : "live");
  });
}

void add_projects(CLI::App& admin, const ProgramOptions& options) {
  CLI::App& projects = *admin.add_subcommand("projects", "projects: each has its own files, jobs, models and balance");
  projects.require_subcommand(1);
  CLI::App& list = *projects.add_subcommand("list", "all projects and what they have left");
  list.callback([&options] {
    Pool pool = connect(options);
    pool.transact(Scope::system(), [&](Transaction& tx) {
      const auto rows = all_pages<storage::Project>([&](const storage::PageRequest& request) {
        return OrganizationStore(tx).list_projects(std::nullopt, request);
      });
      std::printf("%-30s %-20s %-20s %s\n", "id", "organization", "name", "available");
      for (const storage::Project& project : rows)
        std::printf("%-30s %-20s %-20s %s\n", project.id.c_str(), project.organization_name.c_str(),
                    project.name.c_str(),
                    base::format_dollars(billing::Ledger(tx).balance(project.id).available).c_str());
    });
  });
  struct Arguments {
    std::string organization, name;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App& create = *projects.add_subcommand("create", "a new project (or the one of that name)");
  create.add_option("--organization", arguments->organization, "its id or name")->required();
  create.add_option("--name", arguments->name, "its name")->required();
  create.callback([arguments, &options] {
    if (arguments->name.empty()) throw base::UsageError("--name needs a name");
    Pool pool = connect(options);
    const storage::Project project = pool.transact(Scope::system(), [&](Transaction& tx) {
      const std::string organization = find_organization(tx, arguments->organization).id;
      const auto made = OrganizationStore(tx).create_project(organization, arguments->name);
      if (!made) return OrganizationStore(tx).ensure_project(organization, arguments->name);
      audit(tx, organization, made->id, "project.created",
            {{"id", made->id}, {"data", {{"name", made->name}, {"title", made->name}}}});
      return *made;
    });
    std::cout << project.id << "\n";
  });
}

}  // namespace

storage::Project find_project(Transaction& tx, const std::string& id_or_name) {
  OrganizationStore organizations(tx);
  if (auto project = organizations.find_project(id_or_name)) return *project;
  std::optional<storage::Project> found;
  const auto projects = all_pages<storage::Project>(
      [&](const storage::PageRequest& request) { return organizations.list_projects(std::nullopt, request); });
  for (const storage::Project& project : projects) {
    if (project.name != id_or_name) continue;
    if (found) throw base::UsageError("several projects are called '" + id_or_name + "': give the id (admin projects list)");
    found = project;
  }
  if (!found) throw base::UsageError("there is no project '" + id_or_name + "' (admin projects list)");
  return *found;
}

void add_admin_commands(CLI::App& app, const ProgramOptions& options) {
  CLI::App& admin = *app.add_subcommand("admin", "organizations, projects, keys and credit, on the database itself");
  admin.require_subcommand(1);
  add_bootstrap(admin, options);
  add_credit(admin, options);
  add_credit_limit(admin, options);
  add_correction(admin, options);
  add_keys(admin, options);
  add_price_commands(admin, options);
  add_projects(admin, options);
  add_quota_commands(admin, options);
  add_worker_commands(admin, options);
  add_reseal_command(admin, options);
  cli::add_admin_challenges_commands(admin);
}

}  // namespace finetuned::services
