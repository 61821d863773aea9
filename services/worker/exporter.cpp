#include "services/worker/exporter.h"

#include <sys/resource.h>

#include <chrono>
#include <limits>

#include "base/errors.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/stop.h"
#include "services/worker/scratch.h"
#include "services/worker/storage_gate.h"
#include "storage/donation_store.h"
#include "storage/export_store.h"
#include "storage/model_store.h"
#include "storage/removal_store.h"
#include "trainer/formats/merge.h"

namespace finetuned::worker {

namespace fs = std::filesystem;
using postgres::Scope;
using postgres::Transaction;
using storage::ExportLeases;

namespace {

constexpr int kLowestPriority = 19;
constexpr std::chrono::seconds kPause{2};
constexpr std::uint64_t kPiece = 1 << 20;
constexpr const char* kAdapterFiles[] = {"adapter_model.safetensors", "adapter_config.json"};
constexpr const char* kManifest = "manifest.json";
constexpr char kFindManifest[] =
    "SELECT file.object_id FROM fine_tuned_model JOIN job_result_file USING (job_id) JOIN file ON file.id = file_id"
    " WHERE fine_tuned_model.name = $1 AND file.filename = $2 AND file.deleted_at IS NULL";

struct Stopped {};
struct Lost {};

/// What an export is made of.
struct Parts {
  fs::path base_directory;
  storage::ObjectsByName objects;
};

std::optional<Parts> find_parts(Transaction& tx, const storage::ModelExport& what) {
  storage::ModelStore models(tx);
  const auto served = models.find_served(what.model);
  if (!served || served->objects.empty()) return std::nullopt;
  Parts parts{models.find_base(served->base_model)->directory, served->objects};
  const auto manifest = tx.execute(kFindManifest, {what.model, kManifest});
  if (!manifest.empty()) parts.objects[kManifest] = manifest.row(0).text("object_id");
  return parts;
}

std::string file_name(const storage::ModelExport& what) {
  std::string name = what.model;
  for (char& c : name)
    if (c == ':' || c == '/') c = '-';
  return name + "." + what.format + ".tar";
}

/// The objects in the order of their names; a checkpoint has no manifest.
void write_peft_tar(objects::ObjectStore& store, const Parts& parts, const formats::ByteSink& sink) {
  formats::TarWriter tar(sink);
  std::string piece(kPiece, '\0');
  for (const auto& [name, object] : parts.objects) {
    const auto reader = store.open(object);
    tar.begin(name, reader->size());
    for (std::uint64_t at = 0; at < reader->size();) {
      const std::size_t got = reader->read(at, piece.data(), piece.size());
      tar.write({piece.data(), got});
      at += got;
    }
  }
  tar.finish();
}

void write_export(objects::ObjectStore& store, const storage::ModelExport& what, const Parts& parts,
                  const fs::path& scratch, const formats::ByteSink& sink) {
  if (what.format == "peft") return write_peft_tar(store, parts, sink);
  for (const char* name : kAdapterFiles) objects::fetch_file(store, parts.objects.at(name), scratch / name);
  const formats::Adapter adapter =
      formats::read_adapter(scratch, formats::read_model_config(parts.base_directory));
  formats::write_merged_tar(parts.base_directory, adapter, sink);
}

/// One attempt: writes an object under the lease, which it renews as the bytes go.
class Attempt {
 public:
  Attempt(postgres::Pool& pool, objects::ObjectStore& store, const storage::ClaimedExport& claimed,
          const ExporterOptions& options, std::stop_token stop)
      : pool_(pool), claimed_(claimed), lease_seconds_(options.lease_seconds), stop_(std::move(stop)),
        writer_(store.create(std::numeric_limits<std::int64_t>::max())) {
    renew();
  }

  void write(std::string_view data) {
    if (stop_.stop_requested()) throw Stopped();
    if (std::chrono::steady_clock::now() >= renew_at_) renew();
    writer_->write(data);
  }
  /// Throws Lost; what was written is then removed by the sweep of objects.
  void finish() {
    const objects::StoredObject object = writer_->commit();
    const storage::ModelExport& what = claimed_.what;
    const storage::NewFile file{.id = base::make_id("file"),
                                .project_id = what.project_id,
                                .purpose = "fine-tune-results",
                                .filename = file_name(what),
                                .bytes = static_cast<std::int64_t>(object.bytes),
                                .sha256 = object.sha256,
                                .object_id = object.id,
                                .status = storage::FileStatus::kProcessed};
    pool_.transact(Scope::system(), [&](Transaction& tx) {
      if (!ExportLeases(tx).finish(claimed_, file) || !storage::RemovalStore(tx).keep(object.id)) throw Lost();
    });
  }

 private:
  void renew() {
    const bool held = pool_.transact(Scope::system(), [&](Transaction& tx) {
      storage::RemovalStore(tx).add(claimed_.what.project_id, writer_->id(), 4 * lease_seconds_);
      return ExportLeases(tx).heartbeat(claimed_, lease_seconds_);
    });
    if (!held) throw Lost();
    renew_at_ = std::chrono::steady_clock::now() + std::chrono::seconds(lease_seconds_) / 4;
  }

  postgres::Pool& pool_;
  const storage::ClaimedExport& claimed_;
  const std::int64_t lease_seconds_;
  const std::stop_token stop_;
  const std::unique_ptr<objects::ObjectWriter> writer_;
  std::chrono::steady_clock::time_point renew_at_;
};

}  // namespace

Exporter::Exporter(postgres::Pool& pool, objects::ObjectStore& store, ExporterOptions options)
    : pool_(pool), store_(store), options_(std::move(options)) {}

void Exporter::run(const std::stop_token& stop) {
  // Linux counts a thread as a process here: 0 is this thread alone, not the trainer's.
  if (::setpriority(PRIO_PROCESS, 0, kLowestPriority) != 0)
    base::log_warn("models are exported at the trainer's own priority");
  do {
    try {
      while (!stop.stop_requested() && run_one(stop)) {
      }
    } catch (const std::exception& error) {
      base::log_error("no export can be claimed; trying again", {{"why", error.what()}});
    }
  } while (base::sleep_unless_stopped(stop, kPause));
}

bool Exporter::run_one(const std::stop_token& stop) {
  const auto claimed = pool_.transact(Scope::system(), [&](Transaction& tx) -> std::optional<storage::ClaimedExport> {
    if (!options_.known_as.empty() && !storage::DonationStore(tx).is_own(options_.known_as)) return std::nullopt;
    return ExportLeases(tx).claim(options_.name, options_.lease_seconds);
  });
  if (!claimed) return false;
  const storage::ModelExport& what = claimed->what;
  const auto end = [&](auto change) {
    pool_.transact(Scope::system(), [&](Transaction& tx) { return change(ExportLeases(tx)); });
  };
  const auto fail = [&](const char* code, const std::string& why) {
    base::log_warn("export failed", {{"export", what.id}, {"why", why}});
    end([&](ExportLeases leases) { return leases.fail(*claimed, code, why); });
  };
  try {
    const auto parts = pool_.transact(Scope::project(what.project_id), [&](Transaction& tx) { return find_parts(tx, what); });
    if (!parts) {
      fail("model_not_found", "The model " + what.model + " was deleted.");
      return true;
    }
    const Scratch scratch(options_.scratch_directory, what.id, claimed->epoch);
    Attempt attempt(pool_, store_, *claimed, options_, stop);
    write_export(store_, what, *parts, scratch.path(), [&](std::string_view data) { attempt.write(data); });
    attempt.finish();
    base::log_info("model exported", {{"export", what.id}, {"format", what.format}});
  } catch (const Stopped&) {
    end([&](ExportLeases leases) { return leases.release(*claimed); });
  } catch (const Lost&) {
    base::log_warn("export abandoned: its lease was lost", {{"export", what.id}});
  } catch (const base::FormatError& error) {
    fail("invalid_format", error.what());
  } catch (const std::exception& error) {
    const std::string fault = storage_fault_of(error);
    if (!fault.empty()) {
      base::log_error("the storage failed an export; trying again", {{"export", what.id}, {"why", fault}});
      end([&](ExportLeases leases) { return leases.release(*claimed); });
      return false;
    }
    // Ours: the lease runs out, and the export is tried again.
    base::log_error("export broken off", {{"export", what.id}, {"why", error.what()}});
  }
  return true;
}

}  // namespace finetuned::worker
