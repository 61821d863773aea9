#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <iostream>

#include "services/object_scrub.h"
#include "services/operator_commands.h"
#include "storage/objects/open_store.h"

namespace finetuned::services {

namespace {

constexpr std::chrono::seconds kBetweenReports{5};

struct VerifyArguments {
  bool delete_orphans = false;
  double megabytes_per_second = 0;
};

const char* word_of(ScrubFinding::Kind kind) {
  switch (kind) {
    case ScrubFinding::Kind::kDamaged: return "damaged";
    case ScrubFinding::Kind::kMissing: return "missing";
    case ScrubFinding::Kind::kOrphan: return "orphan";
  }
  return "";
}

void verify(const ProgramOptions& options, const VerifyArguments& arguments) {
  const base::Settings settings = options.settings();
  postgres::Pool pool(pool_options(settings, "operator", 1));
  const auto store = objects::open_store(settings);
  ScrubOptions scrub{.delete_orphans = arguments.delete_orphans,
                     .bytes_per_second = static_cast<std::uint64_t>(arguments.megabytes_per_second * 1e6),
                     .progress = {}};
  auto reported = std::chrono::steady_clock::now();
  scrub.progress = [&reported](std::uint64_t objects, std::uint64_t bytes) {
    if (std::chrono::steady_clock::now() - reported < kBetweenReports) return;
    reported = std::chrono::steady_clock::now();
    std::fprintf(stderr, "%llu objects, %.1f MB read\n", static_cast<unsigned long long>(objects), static_cast<double>(bytes) / 1e6);
  };
  const ScrubResult found = scrub_objects(pool, *store, scrub);
  for (const ScrubFinding& one : found.findings) std::cout << word_of(one.kind) << " " << one.object << ": " << one.detail << "\n";
  std::cout << found.objects << " objects, " << found.bytes << " bytes read, " << found.hashed << " hashes compared: "
            << found.findings.size() << " findings";
  if (arguments.delete_orphans) std::cout << ", " << found.orphans_removed << " orphans removed";
  std::cout << "\n";
  if (found.damaged()) throw std::runtime_error("objects are damaged or missing: restore them from a backup (docs/operations.md)");
}

}  // namespace

void add_objects_commands(CLI::App& app, const ProgramOptions& options) {
  CLI::App& objects = *app.add_subcommand("objects", "what datasets, checkpoints and adapters are kept as");
  objects.require_subcommand(1);
  CLI::App& command = *objects.add_subcommand(
      "verify", "read every object again and hold it against the rows that name it; names what is damaged, missing or nobody's");
  command.footer("An orphan is an object that no row has named for an hour: what a killed process leaves.\n"
                 "Exit status: 0 none damaged or missing, 1 some, 2 the request has to be changed.");
  const auto arguments = std::make_shared<VerifyArguments>();
  command.add_flag("--delete-orphans", arguments->delete_orphans, "remove them");
  command.add_option("--rate-limit", arguments->megabytes_per_second, "read so many megabytes a second at most; 0, or left out: no limit")
      ->check(CLI::NonNegativeNumber);
  command.callback([arguments, &options] { verify(options, *arguments); });
}

}  // namespace finetuned::services
