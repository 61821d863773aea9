#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <sstream>

#include "base/clock.h"
#include "base/errors.h"
#include "base/files.h"
#include "base/hex.h"
#include "billing/ledger_export.h"
#include "billing/ledger_head.h"
#include "billing/monthly_statement.h"
#include "billing/sealer.h"
#include "billing/verify.h"
#include "services/operator_commands.h"
#include "storage/organization_store.h"

namespace finetuned::services {

namespace {

using billing::LedgerName;
using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;

constexpr int kSealedAtOnce = 2'000;
constexpr std::uint64_t kMostPemBytes = 4'096;

struct VerifyArguments {
  std::vector<std::string> head_files, key_files;
};
struct ExportArguments {
  std::string format = "csv", ledger, project, from, to;
};
struct StatementArguments {
  std::string project, month, format = "text", ledger = "USD_NANO";
};

Pool connect(const base::Settings& settings) {
  return Pool(pool_options(settings, "operator", 2));
}

std::string time_of(std::int64_t micros) {
  return base::iso8601_utc(std::chrono::system_clock::time_point(std::chrono::microseconds(micros)));
}

/// The data directory's own key counts where no file is named; there may be none on an auditor's machine.
std::vector<std::string> public_keys(const base::Settings& settings, const std::vector<std::string>& files) {
  std::vector<std::string> keys;
  for (const std::string& file : files) {
    try {
      keys.push_back(base::public_key_from_pem(base::read_file(file, kMostPemBytes)));
    } catch (const base::UsageError& error) {
      throw base::UsageError(file + " " + error.what());
    }
  }
  const std::filesystem::path own = settings.ledger.key_file.empty() ? ledger_directory(settings) / "signing.key"
                                                                     : std::filesystem::path(settings.ledger.key_file);
  if (files.empty() && std::filesystem::exists(own)) keys.push_back(ledger_key(settings).public_key());
  return keys;
}

void verify(const ProgramOptions& options, const VerifyArguments& arguments) {
  const base::Settings settings = options.settings();
  Pool pool = connect(settings);
  billing::KnownHeads known{.from_files = billing::HeadFiles(ledger_directory(settings)).read(),
                            .public_keys = public_keys(settings, arguments.key_files)};
  for (const std::string& file : arguments.head_files) {
    const auto more = billing::read_head_file(file);
    known.from_files.insert(known.from_files.end(), more.begin(), more.end());
  }
  const auto began = std::chrono::steady_clock::now();
  const billing::LedgerVerification found = billing::verify_books(pool, known);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  for (const billing::LedgerFault& fault : found.faults)
    std::cout << fault.rule << ": " << fault.detail << "\n";
  std::cout << found.accounts << " accounts, " << found.transfers << " transfers, " << found.usages << " usages ("
            << found.sealed << " sealed, " << found.unsealed << " wait for their seal), " << found.heads << " signed heads, "
            << found.audit_entries << " audit entries replayed: " << found.faults.size() << " faults\n";
  const auto rows = static_cast<double>(found.transfers + found.usages + found.audit_entries);
  std::printf("%.3f s, %.0f rows/s\n", seconds, rows / seconds);
  if (!found.faults.empty()) throw std::runtime_error("the ledger does not add up");
}

void head(const ProgramOptions& options, bool public_key_only) {
  const base::Settings settings = options.settings();
  const base::SigningKey key = ledger_key(settings);
  if (public_key_only) {
    std::cout << base::public_key_to_pem(key.public_key());
    return;
  }
  Pool pool = connect(settings);
  const billing::HeadFiles files(ledger_directory(settings));
  const auto seal = [](Transaction& tx) { return billing::seal_transfers(tx, kSealedAtOnce); };
  while (pool.transact(Scope::system(), seal) == kSealedAtOnce)
    continue;
  const auto ends = pool.transact(Scope::system(), [&](Transaction& tx) {
    files.append(billing::keep_heads(tx, key, false));
    return billing::sign_ends(tx, key);
  });
  files.put_latest(ends);
  for (const billing::LedgerHead& end : ends)
    std::cout << to_line(end) << "\n";
}

storage::Project known_project(Transaction& tx, const std::string& id) {
  const auto project = storage::OrganizationStore(tx).find_project(id);
  if (!project) throw base::UsageError("there is no project '" + id + "' (admin projects list shows their ids)");
  return *project;
}

void export_ledger(const ProgramOptions& options, const ExportArguments& arguments) {
  billing::ExportQuery query;
  query.format = arguments.format == "json" ? billing::ExportFormat::kJson : billing::ExportFormat::kCsv;
  if (!arguments.ledger.empty()) query.ledger = billing::ledger_named(arguments.ledger);
  query.from = read_time("--from", arguments.from);
  query.to = read_time("--to", arguments.to);
  Pool pool = connect(options.settings());
  if (!arguments.project.empty())
    query.project_id = pool.transact(Scope::system(), [&](Transaction& tx) { return known_project(tx, arguments.project).id; });
  billing::export_transfers(pool, query, [](const std::string& text) { std::cout << text; });
}

boost::json::object to_json(const billing::MonthlyStatement& statement, const StatementArguments& arguments) {
  boost::json::array lines;
  for (const billing::StatementLine& line : statement.lines) {
    boost::json::object one{{"created_at", line.created_at}, {"kind", to_string(line.kind)}};
    one["transfer_id"] = line.transfer_id ? boost::json::value(*line.transfer_id) : nullptr;
    one["corrects_id"] = line.corrects_id ? boost::json::value(*line.corrects_id) : nullptr;
    one["job_id"] = line.job_id ? boost::json::value(*line.job_id) : nullptr;
    one["model"] = line.model ? boost::json::value(*line.model) : nullptr;
    one["tokens"] = line.tokens ? boost::json::value(*line.tokens) : nullptr;
    one["amount"] = std::to_string(line.amount.value);
    one["reason"] = line.reason;
    lines.push_back(std::move(one));
  }
  return {{"project_id", arguments.project},
          {"ledger", arguments.ledger},
          {"month", statement.month},
          {"opening", std::to_string(statement.opening.value)},
          {"closing", std::to_string(statement.closing.value)},
          {"held", std::to_string(statement.held.value)},
          {"data", std::move(lines)}};
}

void print_statement(const billing::MonthlyStatement& statement, const storage::Project& project, LedgerName ledger) {
  const auto amount = [&](billing::Amount of) {
    return ledger == LedgerName::kUsdNano ? base::format_dollars(of) : std::to_string(of.value);
  };
  std::printf("%s (%s), %s %s, times in UTC\n\n", project.name.c_str(), project.id.c_str(), billing::to_string(ledger).c_str(),
              statement.month.c_str());
  std::printf("%-20s %-10s %12s %18s %18s  %s\n", "time", "what", "tokens", "amount", "balance", "for");
  std::printf("%-20s %-10s %12s %18s %18s\n", "", "opening", "", "", amount(statement.opening).c_str());
  billing::Amount balance = statement.opening;
  for (const billing::StatementLine& line : statement.lines) {
    balance.value += line.amount.value;
    const char* what = line.kind == billing::TransferKind::kSingle ? "credit"
                       : line.kind == billing::TransferKind::kPost ? (line.job_id ? "training" : "answers")
                                                                   : "correction";
    const std::string tokens = line.tokens ? std::to_string(*line.tokens) : "";
    std::printf("%.19sZ %-10s %12s %18s %18s  %s\n", time_of(line.created_at * 1'000'000).c_str(), what, tokens.c_str(),
                amount(line.amount).c_str(), amount(balance).c_str(), line.reason.c_str());
  }
  std::printf("%-20s %-10s %12s %18s %18s\n", "", "closing", "", "", amount(statement.closing).c_str());
  if (statement.held.value > 0)
    std::printf("\nOf the closing balance %s were held for jobs that had not ended.\n", amount(statement.held).c_str());
}

void statement(const ProgramOptions& options, const StatementArguments& arguments) {
  Pool pool = connect(options.settings());
  const LedgerName ledger = billing::ledger_named(arguments.ledger);
  storage::Project project;
  const auto made = pool.snapshot(Scope::system(), [&](Transaction& tx) {
    project = known_project(tx, arguments.project);
    return billing::monthly_statement(tx, ledger, project.id, arguments.month);
  });
  if (arguments.format == "csv")
    std::cout << to_csv(made);
  else if (arguments.format == "json")
    std::cout << boost::json::serialize(to_json(made, arguments)) << "\n";
  else
    print_statement(made, project, ledger);
}

constexpr const char* kRules =
    "Rules, and what breaks them:\n"
    "  I1     debits and credits do not have equal sums, or a transfer leaves its ledger or project\n"
    "  I2     a prepaid account is overdrawn\n"
    "  I3     a cached balance is not the replay of the transfers\n"
    "  I4     an ended job's hold is not resolved exactly once, or a transfer resolves or corrects more than it may\n"
    "  I5     a job's usage is not its trained tokens, or its charge not their price\n"
    "  chain  a sealed transfer is not the one that was sealed, or not in its place\n"
    "  head   a signed head is not signed by the key\n"
    "  audit  an entry of the audit log is not the one that was written, or not in its place\n"
    "What waits for its seal is counted and no fault.\n"
    "Exit status: 0 all holds, 1 a fault, 2 the request has to be changed.";

void add_verify(CLI::App& ledger, const ProgramOptions& options) {
  CLI::App& command =
      *ledger.add_subcommand("verify", "recompute all of it in one snapshot; names the first wrong row of each kind, exit 1");
  command.footer(kRules);
  const auto arguments = std::make_shared<VerifyArguments>();
  command
      .add_option("--heads", arguments->head_files,
                  "a copy of heads.jsonl that was kept elsewhere, beside those of the data directory")
      ->check(CLI::ExistingFile);
  command
      .add_option("--public-key", arguments->key_files,
                  "the public key (PEM) that heads may be signed by, instead of the data directory's")
      ->check(CLI::ExistingFile);
  command.callback([arguments, &options] { verify(options, *arguments); });
}

void add_export(CLI::App& ledger, const ProgramOptions& options) {
  CLI::App& command =
      *ledger.add_subcommand("export", "transfers, oldest first, with their places in the chain and their hashes");
  const auto arguments = std::make_shared<ExportArguments>();
  command.add_option("--format", arguments->format, "csv, or json: an array with an object a line")
      ->check(CLI::IsMember({"csv", "json"}));
  command.add_option("--project", arguments->project, "of this project alone, by its id");
  command.add_option("--from", arguments->from, "from this day or time on (UTC)");
  command.add_option("--to", arguments->to, "before this day or time");
  command.add_option("--ledger", arguments->ledger, "of this ledger alone")->check(CLI::IsMember({"USD_NANO", "POINTS_MICRO"}));
  command.callback([arguments, &options] { export_ledger(options, *arguments); });
}

void add_statement(CLI::App& ledger, const ProgramOptions& options) {
  CLI::App& command =
      *ledger.add_subcommand("statement", "what a project was credited and charged in a month (UTC), with its balances");
  const auto arguments = std::make_shared<StatementArguments>();
  command.add_option("--project", arguments->project, "the project's id")->required();
  command.add_option("--month", arguments->month, "YYYY-MM")->required();
  command.add_option("--format", arguments->format, "text, csv or json")->check(CLI::IsMember({"text", "csv", "json"}));
  command.add_option("--ledger", arguments->ledger)->check(CLI::IsMember({"USD_NANO", "POINTS_MICRO"}));
  command.callback([arguments, &options] { statement(options, *arguments); });
}

}  // namespace

std::optional<std::int64_t> read_time(const std::string& option, const std::string& text) {
  if (text.empty()) return std::nullopt;
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, read = 0;
  const bool date = std::sscanf(text.c_str(), "%4d-%2d-%2d%n", &year, &month, &day, &read) == 3 && read == 10;
  const bool whole =
      date && (text.size() == 10 || (std::sscanf(text.c_str() + 10, "T%2d:%2d:%2dZ%n", &hour, &minute, &second, &read) == 3 &&
                                     static_cast<std::size_t>(read) + 10 == text.size()));
  using namespace std::chrono;
  const year_month_day at =
      std::chrono::year(year) / std::chrono::month(static_cast<unsigned>(month)) / std::chrono::day(static_cast<unsigned>(day));
  if (!whole || !at.ok() || hour > 23 || minute > 59 || second > 59)
    throw base::UsageError(option + ": '" + text + "' is no time: write 2026-11-23 or 2026-11-23T21:45:29Z (UTC)");
  return (sys_days(at).time_since_epoch() + hours(hour) + minutes(minute)) / seconds(1) + second;
}

void add_ledger_commands(CLI::App& app, const ProgramOptions& options) {
  CLI::App& ledger = *app.add_subcommand("ledger", "the books");
  ledger.require_subcommand(1);
  add_verify(ledger, options);
  CLI::App& head_command = *ledger.add_subcommand(
      "head",
      "seal what waits, sign the chains' ends, keep and print them");
  head_command.footer("Copy the lines where nobody who can change the database reaches them: verify --heads takes them.");
  const auto public_key_only = std::make_shared<bool>(false);
  head_command.add_flag("--public-key", *public_key_only,
                        "print the public key (PEM) that heads are signed by, and nothing else");
  head_command.callback([public_key_only, &options] { head(options, *public_key_only); });
  add_export(ledger, options);
  add_statement(ledger, options);
}

}  // namespace finetuned::services
