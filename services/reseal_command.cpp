#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <optional>

#include "base/errors.h"
#include "base/files.h"
#include "base/sealing.h"
#include "services/operator_commands.h"
#include "storage/webhook_store.h"

namespace finetuned::services {

namespace {

using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;

constexpr std::uint64_t kMostKeyBytes = 1'000;

base::SealingKey read_key(const std::string& file) {
  std::string text = base::read_file(file, kMostKeyBytes);
  while (text.ends_with('\n')) text.pop_back();
  try {
    return base::SealingKey::from_base64(text);
  } catch (const base::UsageError& error) {
    throw base::UsageError(file + " " + error.what());
  }
}

std::optional<std::string> opened(const base::SealingKey& key, const std::string& sealed, const std::string& id) {
  try {
    return key.open(sealed, id);
  } catch (const base::SealError&) {
    return std::nullopt;
  }
}

struct Resealed {
  std::size_t now = 0, before = 0;
  std::vector<std::string> lost;
};

/// All or nothing. What the new key opens was sealed by it already: so this may be run again.
Resealed reseal(Transaction& tx, const base::SealingKey& old_key, const base::SealingKey& new_key) {
  storage::WebhookStore store(tx);
  Resealed done;
  for (const auto& [id, sealed] : store.sealed_secrets()) {
    if (opened(new_key, sealed, id)) {
      ++done.before;
    } else if (const auto secret = opened(old_key, sealed, id)) {
      store.set_secret(id, new_key.seal(*secret, id));
      ++done.now;
    } else {
      done.lost.push_back(id);
    }
  }
  return done;
}

void run_reseal(const ProgramOptions& options, const std::string& previous_key) {
  const base::Settings settings = options.settings();
  const base::SealingKey old_key = read_key(previous_key), new_key = base::webhooks_key(settings);
  Pool pool(pool_options(settings, "operator", 1));
  const Resealed done = pool.transact(Scope::system(), [&](Transaction& tx) { return reseal(tx, old_key, new_key); });
  std::cout << done.now << " signing secrets sealed anew, " << done.before << " had been already\n";
  for (const std::string& id : done.lost) std::cout << id << ": neither key opens its secret\n";
  if (!done.lost.empty()) throw std::runtime_error("some secrets are lost: their projects have to rotate them");
}

}  // namespace

void add_reseal_command(CLI::App& admin, const ProgramOptions& options) {
  auto file = std::make_shared<std::string>();
  CLI::App& command = *admin.add_subcommand("reseal", "seal webhooks' signing secrets by a new webhooks.secret_key");
  command.add_option("--previous-key", *file, "a file with the key before it, in base64: webhooks.key as it was")->required();
  command.callback([file, &options] { run_reseal(options, *file); });
}

}  // namespace finetuned::services
