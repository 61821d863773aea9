#include "services/operator_commands.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>

#include "base/errors.h"
#include "services/model_import.h"
#include "storage/audit_store.h"

namespace finetuned::services {

namespace {

using postgres::Pool;
using postgres::Scope;
using postgres::Transaction;

constexpr std::chrono::milliseconds kReplayLimit{300'000};

void import(const ProgramOptions& options, const std::string& directory, const std::string& name) {
  const base::Settings settings = options.settings();
  Pool pool(pool_options(settings, "operator", 1));
  const ImportedModel imported = import_model(pool, directory, models_directory(settings), name);
  const storage::BaseModel& model = imported.model;
  std::cout << (imported.is_new ? "imported " : "already imported ") << model.name << ": " << model.family << ", "
            << model.parameters << " parameters, context of " << model.context << " tokens, sha256 " << model.sha256
            << "\n";
}

void list_models(const ProgramOptions& options) {
  Pool pool(pool_options(options.settings(), "operator", 1));
  const auto models =
      pool.transact(Scope::system(), [](Transaction& tx) { return storage::ModelStore(tx).list_base(); });
  std::printf("%-32s %-8s %15s %9s  %s\n", "name", "family", "parameters", "context", "sha256");
  for (const storage::BaseModel& model : models)
    std::printf("%-32s %-8s %15lld %9lld  %.16s\n", model.name.c_str(), model.family.c_str(),
                static_cast<long long>(model.parameters), static_cast<long long>(model.context),
                model.sha256.c_str());
}

void verify_audit(const ProgramOptions& options) {
  Pool pool(pool_options(options.settings(), "operator", 1));
  const storage::AuditVerification found = pool.transact(
      Scope::system(), [](Transaction& tx) { return storage::verify_audit_log(tx); }, kReplayLimit);
  for (const storage::AuditFault& fault : found.faults)
    std::cout << fault.organization_id << ": " << fault.entry_id << ": " << fault.detail << "\n";
  std::cout << found.chains << " chains, " << found.entries << " entries hashed again: " << found.faults.size()
            << " faults\n";
  if (!found.faults.empty()) throw std::runtime_error("the audit log was altered");
}

}  // namespace

void add_model_commands(CLI::App& app, const ProgramOptions& options) {
  CLI::App& models = *app.add_subcommand("models", "base models that jobs start from");
  models.require_subcommand(1);
  CLI::App& import_command =
      *models.add_subcommand("import", "check a Hugging Face directory, copy it and register it");
  struct Arguments {
    std::string directory, name;
  };
  auto arguments = std::make_shared<Arguments>();
  import_command.add_option("directory", arguments->directory,
                            "config.json, model.safetensors or a sharded index, tokenizer.json, tokenizer_config.json")
      ->required();
  import_command.add_option("--name", arguments->name, "what jobs call it; the folder's name if left out");
  import_command.callback([arguments, &options] { import(options, arguments->directory, arguments->name); });
  CLI::App& list_command = *models.add_subcommand("list", "the registered base models");
  list_command.callback([&options] { list_models(options); });
}

void add_audit_commands(CLI::App& app, const ProgramOptions& options) {
  CLI::App& log = *app.add_subcommand("audit", "the log of what administrators changed");
  log.require_subcommand(1);
  CLI::App& verify_command = *log.add_subcommand(
      "verify", "compute every entry's hash again; names the first altered one of each organization; exit 1 on a fault");
  verify_command.callback([&options] { verify_audit(options); });
}

void add_operator_commands(CLI::App& app, const ProgramOptions& options) {
  add_model_commands(app, options);
  add_admin_commands(app, options);
  add_ledger_commands(app, options);
  add_audit_commands(app, options);
  add_objects_commands(app, options);
  add_backup_commands(app, options);
}

}  // namespace finetuned::services
