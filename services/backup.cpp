#include "services/backup.h"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>

#include "base/clock.h"
#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sha256.h"
#include "services/backup_files.h"
#include "services/child_process.h"
#include "services/parts.h"
#include "storage/model_store.h"
#include "storage/named_objects.h"
#include "storage/objects/local_store.h"
#include "storage/postgres/connection_variables.h"
#include "storage/removal_store.h"

namespace finetuned::services {

namespace {

namespace fs = std::filesystem;
namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

constexpr std::chrono::milliseconds kStatementLimit{300'000};
constexpr std::size_t kPieceBytes = 1 << 20;

/// Of a folder, and in the order of time.
std::string stamp_now() {
  std::string stamp = base::iso8601_utc(std::chrono::system_clock::now());
  std::replace(stamp.begin(), stamp.end(), ':', '-');
  return stamp;
}

class Backup {
 public:
  Backup(const base::Settings& settings, objects::ObjectStore& store, const fs::path& directory)
      : settings_(settings), store_(store), directory_(directory), kept_(directory / "objects") {}

  BackupResult make(postgres::Pool& pool, const std::string& config_file) {
    result_.name = stamp_now();
    half_ = directory_ / ("." + result_.name + ".half");
    struct Cleared {
      const fs::path& path;
      ~Cleared() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
      }
    } const unless_renamed{half_};
    fs::create_directories(half_ / "ledger");
    fs::permissions(half_, fs::perms::owner_all);
    copy_keys(config_file);  // first: a head that is signed later names transfers that the snapshot lacks
    pool.snapshot(
        Scope::system(),
        [&](Transaction& tx) {
          storage::RemovalStore(tx).hold();
          dump(tx.execute("SELECT pg_export_snapshot() AS id").row(0).text("id"));
          copy_objects(storage::named_objects(tx), pool);
          copy_models(storage::ModelStore(tx).list_base());
          return true;
        },
        kStatementLimit);
    write_manifest();
    fs::rename(half_, directory_ / result_.name);
    base::sync_directory(directory_);
    return std::move(result_);
  }

 private:
  void dump(const std::string& snapshot) {
    auto variables = postgres::connection_variables(settings_.database.url);
    run_program({"pg_dump", "--format=custom", "--no-owner", "--no-privileges", "--enable-row-security", "--snapshot=" + snapshot,
                 "--file=" + (half_ / "database.dump").string()},
                variables);
    add_file("database.dump");
  }

  void add_file(const std::string& name) {
    const fs::path path = half_ / name;
    const base::FileDescriptor written(open_for_reading(path));
    sync_file(written, path);
    files_.push_back(json::object{{"path", name}, {"bytes", fs::file_size(path)}, {"sha256", base::sha256_file(path)}});
  }

  void copy_objects(const std::vector<storage::NamedObject>& named, postgres::Pool& pool) {
    for (const storage::NamedObject& object : named) {
      ++result_.objects;
      if (const auto there = size_of_kept(object)) {
        list_object(object.id, *there, object.sha256.value_or(base::sha256_file(kept_path(object.id))));
        continue;
      }
      try {
        copy_object(object);
      } catch (const objects::ObjectMissing&) {
        // By a request that deleted its file after the snapshot: the restored row is deleted, too.
        const bool deleted =
            pool.transact(Scope::system(), [&](Transaction& tx) { return storage::known_objects(tx, {object.id}); }).empty();
        if (deleted) gone_.push_back(json::value(object.id));
        else result_.damage.push_back("missing " + object.id + ": " + object.named_by);
      }
    }
  }

  fs::path kept_path(const std::string& id) const { return directory_ / "objects" / id.substr(0, 2) / id.substr(2); }

  /// Of an earlier backup's copy that is as its row tells.
  std::optional<std::uint64_t> size_of_kept(const storage::NamedObject& object) {
    try {
      const std::uint64_t bytes = kept_.open(object.id)->size();
      if (object.bytes && static_cast<std::uint64_t>(*object.bytes) != bytes) return std::nullopt;
      return bytes;
    } catch (const objects::ObjectMissing&) {
      return std::nullopt;
    }
  }

  void copy_object(const storage::NamedObject& object) {
    const auto reader = store_.open(object.id);
    const auto writer = kept_.create_again(object.id, reader->size());
    std::vector<char> piece(kPieceBytes);
    for (std::uint64_t at = 0; at < reader->size();) {
      const std::size_t got = reader->read(at, piece.data(), piece.size());
      if (got == 0) throw objects::ObjectMissing(object.id);
      writer->write({piece.data(), got});
      at += got;
    }
    const objects::StoredObject copy = writer->commit();
    if (object.sha256 && *object.sha256 != copy.sha256) {
      kept_.remove(object.id);
      result_.damage.push_back("damaged " + object.id + ": " + object.named_by + ": its SHA-256 is " + copy.sha256 + ", not " + *object.sha256);
      return;
    }
    ++result_.copied;
    result_.bytes_copied += copy.bytes;
    list_object(copy.id, copy.bytes, copy.sha256);
  }

  void list_object(const std::string& id, std::uint64_t bytes, const std::string& sha256) {
    objects_.push_back(json::object{{"id", id}, {"bytes", bytes}, {"sha256", sha256}});
  }

  /// Their folders never change, and are named for what is in them.
  void copy_models(const std::vector<storage::BaseModel>& models) {
    for (const storage::BaseModel& model : models) {
      const fs::path from = model.directory, name = from.filename(), to = directory_ / "models" / name;
      fs::create_directories(to);
      json::array files;
      for (const auto& entry : fs::directory_iterator(from)) {
        if (!entry.is_regular_file()) continue;
        const fs::path copy = to / entry.path().filename();
        if (!fs::exists(copy) || fs::file_size(copy) != entry.file_size()) {
          copy_file_durably(entry.path(), copy);
          result_.bytes_copied += entry.file_size();
        }
        files.push_back(json::object{{"name", copy.filename().string()}, {"bytes", fs::file_size(copy)}, {"sha256", base::sha256_file(copy)}});
      }
      models_.push_back(json::object{{"name", model.name}, {"folder", name.string()}, {"files", std::move(files)}});
    }
  }

  void copy_keys(const std::string& config_file) {
    const auto copy = [&](const fs::path& from, const std::string& name) {
      if (!fs::exists(from)) return;
      copy_file_durably(from, half_ / name, 0600);
      add_file(name);
    };
    copy(fs::absolute(settings_.data_directory) / "webhooks.key", "webhooks.key");
    copy(settings_.ledger.key_file.empty() ? ledger_directory(settings_) / "signing.key" : fs::path(settings_.ledger.key_file),
         "ledger/signing.key");
    for (const char* name : {"heads.jsonl", "latest.jsonl"}) copy(ledger_directory(settings_) / name, std::string("ledger/") + name);
    if (!config_file.empty()) copy(config_file, "finetuned.toml");
  }

  void write_manifest() {
    json::object manifest;
    manifest["format"] = 1;
    manifest["made_at"] = base::iso8601_utc(std::chrono::system_clock::now());
    manifest["files"] = std::move(files_);
    manifest["models"] = std::move(models_);
    manifest["gone"] = std::move(gone_);
    manifest["objects"] = std::move(objects_);
    base::write_durably(half_ / "manifest.json", json::serialize(manifest) + "\n", 0600);
  }

  const base::Settings& settings_;
  objects::ObjectStore& store_;
  const fs::path directory_;
  objects::LocalStore kept_;
  fs::path half_;
  BackupResult result_;
  json::array files_, models_, gone_, objects_;
};

}  // namespace

BackupResult make_backup(const base::Settings& settings, const std::string& config_file, postgres::Pool& pool,
                         objects::ObjectStore& store, const fs::path& directory) {
  fs::create_directories(directory);
  return Backup(settings, store, directory).make(pool, config_file);
}

std::vector<std::string> list_backups(const fs::path& directory) {
  std::vector<std::string> names;
  if (!fs::is_directory(directory)) return names;
  for (const auto& entry : fs::directory_iterator(directory))
    if (!entry.path().filename().string().starts_with('.') && fs::exists(entry.path() / "manifest.json"))
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace finetuned::services
