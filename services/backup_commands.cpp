#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "base/errors.h"
#include "billing/verify.h"
#include "services/backup.h"
#include "services/object_scrub.h"
#include "services/operator_commands.h"
#include "storage/objects/open_store.h"

namespace finetuned::services {

namespace {

using postgres::Pool;

struct RestoreArguments {
  std::string directory, name;
};

void backup(const ProgramOptions& options, const std::string& directory) {
  const base::Settings settings = as_owner(options.settings());
  Pool pool(pool_options(settings, "backup", 2));
  const auto store = objects::open_store(settings);
  const BackupResult made = make_backup(settings, options.config_file, pool, *store, directory);
  for (const std::string& damage : made.damage) std::cout << damage << "\n";
  std::cout << made.name << ": " << made.objects << " objects, " << made.copied << " of them new, " << made.bytes_copied
            << " bytes copied\n";
  if (!made.damage.empty()) throw std::runtime_error("objects are damaged or missing: an earlier backup may have them");
}

/// The newest where none is named.
std::string chosen(const RestoreArguments& arguments) {
  const auto names = list_backups(arguments.directory);
  if (names.empty()) throw base::UsageError(arguments.directory + " holds no backup");
  if (arguments.name.empty()) return names.back();
  if (std::find(names.begin(), names.end(), arguments.name) == names.end())
    throw base::UsageError(arguments.directory + " holds no backup '" + arguments.name + "'; the newest is " + names.back());
  return arguments.name;
}

void restore(const ProgramOptions& options, const RestoreArguments& arguments) {
  const base::Settings settings = as_owner(options.settings());
  const std::string name = chosen(arguments);
  Pool pool(pool_options(settings, "restore", 2));
  const auto store = objects::open_store(settings);
  const RestoreResult done = restore_backup(settings, pool, *store, arguments.directory, name);
  grant_tables(options.settings());
  std::cout << name << ": " << done.objects << " objects, " << done.files << " files, " << done.runs_queued
            << " running jobs queued again\n";
  const ScrubResult objects = scrub_objects(pool, *store, {});
  const auto books = billing::verify_books(pool, {.from_files = billing::HeadFiles(ledger_directory(settings)).read(),
                                                  .public_keys = {ledger_key(settings).public_key()}});
  for (const ScrubFinding& one : objects.findings) std::cout << "object " << one.object << ": " << one.detail << "\n";
  for (const billing::LedgerFault& fault : books.faults) std::cout << fault.rule << ": " << fault.detail << "\n";
  std::cout << objects.objects << " objects and " << books.transfers << " transfers verified: "
            << objects.findings.size() + books.faults.size() << " faults\n";
  if (objects.damaged() || !books.faults.empty()) throw std::runtime_error("what was restored is not whole");
}

}  // namespace

void add_backup_commands(CLI::App& app, const ProgramOptions& options) {
  CLI::App& backup_command = *app.add_subcommand(
      "backup", "copy database, objects, base models and keys to a directory; what an earlier backup there has is not copied again");
  backup_command.footer("The platform may be at work meanwhile. Needs pg_dump on PATH.\n"
                        "Exit status: 0 done, 1 it failed, or an object was damaged or missing, 2 the request has to be changed.");
  const auto directory = std::make_shared<std::string>();
  backup_command.add_option("directory", *directory, "on another disk or machine; holds any number of backups")->required();
  backup_command.callback([directory, &options] { backup(options, *directory); });
  CLI::App& restore_command = *app.add_subcommand(
      "restore", "put a backup into an empty database and data directory, or bucket, and verify all of it");
  restore_command.footer("No role may run. Needs pg_restore on PATH. It refuses a database that has tables.");
  const auto arguments = std::make_shared<RestoreArguments>();
  restore_command.add_option("directory", arguments->directory, "where `backup` has put it")->required();
  restore_command.add_option("--backup", arguments->name, "the backup's name; the newest where it is left out");
  restore_command.callback([arguments, &options] { restore(options, *arguments); });
}

}  // namespace finetuned::services
