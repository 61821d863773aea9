#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/file_store.h"
#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

inline constexpr int kMostUnfinishedExports = 10;  ///< a project

/// A fine-tuned model or checkpoint in a format for engines elsewhere.
struct ModelExport {
  std::string id;  ///< `export-...`
  std::string project_id;
  std::string model;
  std::string format;  ///< peft, merged
  std::string status;  ///< queued, running, done, failed
  std::optional<std::string> file_id;  ///< of a done one
  std::optional<std::string> error_code, error_message;  ///< of a failed one
  std::int64_t created_at = 0;
  std::optional<std::int64_t> finished_at;
};

/// Exports as their project sees them.
class ExportStore {
 public:
  ExportStore(postgres::Transaction& tx, std::string project_id) : tx_(tx), project_(std::move(project_id)) {}

  /// The project's export of that model in that format, made where there is none; queued again where it failed or its
  /// file was deleted. nullopt where kMostUnfinishedExports wait already. `*queued`: it has just been.
  std::optional<ModelExport> ensure(const std::string& model, const std::string& format, bool* queued);
  std::optional<ModelExport> find(const std::string& model, const std::string& id);
  Page<ModelExport> list(const std::string& model, const PageRequest& request);

 private:
  postgres::Transaction& tx_;
  const std::string project_;
};

struct ClaimedExport {
  ModelExport what;
  std::int64_t epoch = 0;
};

/// An export's way through a worker, as JobLeases is a job's. Methods that take a claim return false, having changed
/// nothing, when its lease is lost. System scope.
class ExportLeases {
 public:
  static constexpr int kMostAttempts = 3;

  explicit ExportLeases(postgres::Transaction& tx) : tx_(tx) {}

  /// The oldest one that waits, or whose worker went silent; one that did so kMostAttempts times is failed instead.
  std::optional<ClaimedExport> claim(const std::string& worker, std::int64_t lease_seconds);
  bool heartbeat(const ClaimedExport& claimed, std::int64_t lease_seconds);
  /// With its file, which is created here: the caller rolls back where the lease is lost.
  bool finish(const ClaimedExport& claimed, const NewFile& file);
  bool fail(const ClaimedExport& claimed, const std::string& code, const std::string& message);
  /// Back to the queue, as if it had not been claimed: the worker shuts down.
  bool release(const ClaimedExport& claimed);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
