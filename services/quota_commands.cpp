#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>

#include "base/clock.h"
#include "base/errors.h"
#include "base/money.h"
#include "billing/quotas.h"
#include "services/operator_commands.h"
#include "storage/audit_store.h"
#include "storage/quota_store.h"
#include "storage/rate_limit_store.h"
#include "storage/spend_store.h"

namespace finetuned::services {

namespace {

using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;

constexpr std::int64_t kMostCount = 1'000'000'000'000'000;
constexpr std::int64_t kNanoPerCent = 10'000'000, kMostCents = 1'000'000'000'000;

/// Texts as they were given; what is empty stays as it is.
struct QuotaArguments {
  std::string project, queued, running, bytes, uploads, tokens, weight, spending, model, requests, model_tokens;
};

std::optional<std::int64_t> read_count(const char* option, const std::string& text, std::int64_t least = 0, std::int64_t most = kMostCount) {
  if (text == "none") return std::nullopt;
  std::int64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc() || end != text.data() + text.size() || count < least || count > most)
    throw base::UsageError(std::string(option) + ": '" + text + "' is no number from " + std::to_string(least) + " to " +
                           std::to_string(most) + ", nor none");
  return count;
}

void audit(Transaction& tx, const storage::Project& project, const char* type, boost::json::object payload) {
  storage::AuditStore(tx).record({project.organization_id, project.id, type, std::nullopt, std::move(payload)});
}

void set_quotas(Transaction& tx, const storage::Project& project, const QuotaArguments& asked) {
  storage::QuotaStore store(tx);
  storage::Quotas quotas = store.lock(project.id);
  boost::json::object changes;
  const auto set = [&](const char* option, const char* name, const std::string& text, std::optional<std::int64_t>& quota) {
    if (text.empty()) return;
    quota = read_count(option, text);
    changes[name] = quota ? boost::json::value(*quota) : nullptr;
  };
  set("--queued-jobs", "queued_jobs", asked.queued, quotas.queued_jobs);
  set("--running-jobs", "running_jobs", asked.running, quotas.running_jobs);
  set("--storage-bytes", "storage_bytes", asked.bytes, quotas.storage_bytes);
  set("--upload-bytes-per-day", "upload_bytes_per_day", asked.uploads, quotas.upload_bytes_per_day);
  set("--tokens-per-month", "tokens_per_month", asked.tokens, quotas.tokens_per_month);
  if (!asked.weight.empty()) {
    quotas.share_weight = read_count("--share-weight", asked.weight, 1, 1000).value_or(1);
    changes["share_weight"] = quotas.share_weight;
  }
  if (changes.empty()) return;
  store.put(project.id, quotas);
  audit(tx, project, "quota.updated", {{"id", project.id}, {"changes_requested", changes}});
}

void set_spend_limit(Transaction& tx, const storage::Project& project, const std::string& text) {
  if (text.empty()) return;
  storage::SpendStore store(tx, {project.organization_id, project.id});
  if (text == "none") {
    if (store.remove_limit()) audit(tx, project, "spend_limit.deleted", {{"id", project.id}});
    return;
  }
  const std::int64_t nano = base::parse_dollars(text).value, cents = nano / kNanoPerCent;
  if (nano % kNanoPerCent != 0 || cents < 1 || cents > kMostCents)
    throw base::UsageError("--spend-limit: '" + text + "' must be whole cents, at least one: 100.00, or none");
  store.set_limit(cents);
  audit(tx, project, "spend_limit.updated",
        {{"id", project.id}, {"changes_requested", {{"threshold_amount", cents}, {"currency", "USD"}, {"interval", "month"}}}});
}

void set_rate_limits(Transaction& tx, const storage::Project& project, const QuotaArguments& asked) {
  if (asked.requests.empty() && asked.model_tokens.empty()) return;
  if (asked.model.empty()) throw base::UsageError("--requests-per-minute and --tokens-per-minute are a model's: name it with --model");
  storage::RateLimits limits;
  boost::json::object changes;
  const std::string* given[] = {&asked.requests, &asked.model_tokens};
  for (std::size_t i = 0; i < std::size(given); ++i) {
    if (given[i]->empty()) continue;
    limits[i] = read_count(i == 0 ? "--requests-per-minute" : "--tokens-per-minute", *given[i]);
    if (!limits[i]) throw base::UsageError("a model's limit of a minute is a number");
    changes[storage::kRateLimitNames[i]] = *limits[i];
  }
  if (!storage::RateLimitStore(tx, project.id).update(asked.model, limits))
    throw base::UsageError("there is no base model '" + asked.model + "' (models list)");
  audit(tx, project, "rate_limit.updated", {{"id", "rl-" + asked.model}, {"changes_requested", changes}});
}

std::string shown(const billing::LimitUse& use, std::int64_t amount) {
  return use.unit == "nano_dollars" ? base::format_dollars({amount}) : std::to_string(amount);
}

void run(const ProgramOptions& options, const QuotaArguments& asked) {
  Pool pool(pool_options(options.settings(), "operator", 1));
  pool.transact(Scope::system(), [&](Transaction& tx) {
    const storage::Project project = find_project(tx, asked.project);
    set_quotas(tx, project, asked);
    set_spend_limit(tx, project, asked.spending);
    set_rate_limits(tx, project, asked);
    std::printf("%-26s %-20s %-20s %s\n", "limit", "most", "used", "frees");
    for (const billing::LimitUse& use : billing::limit_uses(tx, project.organization_id, project.id))
      std::printf("%-26s %-20s %-20s %s\n", use.name.c_str(), use.limit ? shown(use, *use.limit).c_str() : "none", shown(use, use.used).c_str(),
                  use.frees.c_str());
    std::printf("%-26s %lld\n", "share_weight", static_cast<long long>(storage::QuotaStore(tx).get(project.id).share_weight));
  });
}

}  // namespace

void add_quota_commands(CLI::App& admin, const ProgramOptions& options) {
  auto asked = std::make_shared<QuotaArguments>();
  CLI::App& command = *admin.add_subcommand("quotas", "what a project may have, and has; sets what is named, `none` lifts it");
  command.add_option("--project", asked->project, "its id or name")->required();
  command.add_option("--queued-jobs", asked->queued, "that wait or are paused");
  command.add_option("--running-jobs", asked->running, "at once");
  command.add_option("--storage-bytes", asked->bytes, "of files that are kept");
  command.add_option("--upload-bytes-per-day", asked->uploads, "since midnight (UTC)");
  command.add_option("--tokens-per-month", asked->tokens, "trained in a calendar month (UTC)");
  command.add_option("--share-weight", asked->weight, "1 to 1000: its share of the workers");
  command.add_option("--spend-limit", asked->spending, "dollars a calendar month, such as 100.00");
  command.add_option("--model", asked->model, "whose limits of a minute the next two set");
  command.add_option("--requests-per-minute", asked->requests, "of that model");
  command.add_option("--tokens-per-minute", asked->model_tokens, "of that model");
  command.callback([asked, &options] { run(options, *asked); });
}

}  // namespace finetuned::services
