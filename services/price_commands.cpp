#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "base/clock.h"
#include "base/errors.h"
#include "base/money.h"
#include "billing/prices.h"
#include "services/operator_commands.h"
#include "storage/audit_store.h"
#include "storage/organization_store.h"

namespace finetuned::services {

namespace {

using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;

constexpr int kPageRows = 100;

struct PriceArguments {
  std::string organization, model, method = "supervised", dollars, from;
};

Pool connect(const ProgramOptions& options) { return Pool(pool_options(options.settings(), "operator", 1)); }

std::optional<storage::Organization> find_organization(Transaction& tx, const std::string& id_or_name) {
  if (id_or_name.empty()) return std::nullopt;
  storage::OrganizationStore organizations(tx);
  auto found = organizations.find_organization(id_or_name);
  if (!found) found = organizations.find_organization_by_name(id_or_name);
  if (!found) throw base::UsageError("there is no organization '" + id_or_name + "'");
  return found;
}

/// Into the log of everybody for whom it holds.
void audit(Transaction& tx, const billing::PriceVersion& made) {
  const auto concerned = tx.execute("SELECT id FROM organization WHERE $1::text IS NULL OR id = $1 ORDER BY id", {made.of.organization_id});
  boost::json::object data{{"version", made.price.version},
                           {"model", made.of.base_model ? boost::json::value(*made.of.base_model) : nullptr},
                           {"method", made.of.method},
                           {"nano_per_1k", std::to_string(made.price.nano_per_1k)},
                           {"valid_from", made.valid_from}};
  for (std::size_t i = 0; i < concerned.size(); ++i)
    storage::AuditStore(tx).record(
        {concerned.row(i).text("id"), std::nullopt, "price.created", std::nullopt, {{"id", made.id}, {"data", data}}});
}

std::string since(std::int64_t second) { return base::iso8601_utc(std::chrono::system_clock::from_time_t(second)).substr(0, 19) + "Z"; }

void set_price(const ProgramOptions& options, const PriceArguments& arguments) {
  billing::NewPrice asked;
  asked.nano_per_1k = base::parse_dollars(arguments.dollars).value;
  if (!arguments.model.empty()) asked.of.base_model = arguments.model;
  asked.of.method = arguments.method;
  asked.valid_from = read_time("--from", arguments.from);
  Pool pool = connect(options);
  try {
    const auto made = pool.transact(Scope::system(), [&](Transaction& tx) {
      if (const auto organization = find_organization(tx, arguments.organization)) asked.of.organization_id = organization->id;
      auto version = billing::add_price(tx, asked);
      audit(tx, version);
      return version;
    });
    std::cout << made.id << ": " << base::format_dollars({made.price.nano_per_1k}) << " for 1,000 tokens from " << since(made.valid_from)
              << " on\n";
  } catch (const base::ApiError& error) {
    throw base::UsageError(error.what());
  }
}

void list_prices(const ProgramOptions& options, const PriceArguments& arguments) {
  Pool pool = connect(options);
  std::printf("%-12s %-30s %-24s %-12s %-16s %-20s %s\n", "id", "organization", "model", "method", "for 1,000", "from", "until");
  storage::PageRequest request{.after = std::nullopt, .limit = kPageRows, .ascending = true};
  for (bool more = true; more;) {
    const auto page = pool.transact(Scope::system(), [&](Transaction& tx) {
      std::optional<std::string> id;
      if (const auto organization = find_organization(tx, arguments.organization)) id = organization->id;
      return billing::list_prices(tx, id, request);
    });
    for (const billing::PriceVersion& price : page.data)
      std::printf("%-12s %-30s %-24s %-12s %-16s %-20s %s\n", price.id.c_str(), price.of.organization_id.value_or("(all)").c_str(),
                  price.of.base_model.value_or("(others)").c_str(), price.of.method.c_str(),
                  base::format_dollars({price.price.nano_per_1k}).c_str(), since(price.valid_from).c_str(),
                  price.valid_until ? since(*price.valid_until).c_str() : "-");
    more = page.has_more && !page.data.empty();
    if (more) request.after = page.data.back().id;
  }
}

}  // namespace

void add_price_commands(CLI::App& admin, const ProgramOptions& options) {
  CLI::App& prices = *admin.add_subcommand("prices", "what 1,000 tokens cost, trained or answered; a version that is set never changes");
  prices.require_subcommand(1);
  auto arguments = std::make_shared<PriceArguments>();
  CLI::App& list = *prices.add_subcommand("list", "all versions, oldest first");
  list.add_option("--organization", arguments->organization, "those that hold for this one: its id or name");
  list.callback([arguments, &options] { list_prices(options, *arguments); });
  CLI::App& set = *prices.add_subcommand("set", "a new version, from a time on; jobs keep the one they were quoted at");
  set.add_option("--per-1k", arguments->dollars, "dollars for 1,000 tokens, such as 0.001")->required();
  set.add_option("--organization", arguments->organization, "for this one alone: its id or name; without it, for all");
  set.add_option("--model", arguments->model, "of this base model; without it, of each that has none of its own");
  set.add_option("--method", arguments->method, "supervised: trained tokens; inference_input, inference_output: those of chats and completions")
      ->capture_default_str();
  set.add_option("--from", arguments->from, "2026-12-01 or 2026-12-01T06:00:00Z (UTC); now if left out");
  set.callback([arguments, &options] { set_price(options, *arguments); });
}

}  // namespace finetuned::services
