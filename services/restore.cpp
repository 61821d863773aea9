#include <boost/json/array.hpp>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "base/sha256.h"
#include "services/backup.h"
#include "services/backup_files.h"
#include "services/child_process.h"
#include "services/parts.h"
#include "storage/objects/local_store.h"
#include "storage/postgres/connection_variables.h"

namespace finetuned::services {

namespace {

namespace fs = std::filesystem;
namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

constexpr std::uint64_t kMostManifestBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kMostKeyBytes = 64 << 20;
constexpr std::size_t kPieceBytes = 1 << 20;

std::string text(const json::object& object, const char* key) { return std::string(object.at(key).as_string()); }
std::uint64_t number(const json::object& object, const char* key) { return object.at(key).to_number<std::uint64_t>(); }

class Restore {
 public:
  Restore(const base::Settings& settings, postgres::Pool& pool, objects::ObjectStore& store, const fs::path& directory,
          const std::string& name)
      : settings_(settings), pool_(pool), store_(store), directory_(directory), backup_(directory / name) {
    const std::string file = base::read_file(backup_ / "manifest.json", kMostManifestBytes);
    manifest_ = base::parse_json(file, {.depth = 8, .bytes = kMostManifestBytes}).as_object();
    if (manifest_.at("format").to_number<int>() != 1)
      throw base::UsageError(backup_.string() + " was made by another version: restore it by that one");
  }

  RestoreResult run() {
    refuse_what_is_there();
    check_backup();
    put_keys();
    put_models();
    put_objects();
    put_database();
    return result_;
  }

 private:
  fs::path data() const { return fs::absolute(settings_.data_directory); }

  fs::path place_of(const std::string& name) const {
    if (name == "ledger/signing.key" && !settings_.ledger.key_file.empty()) return settings_.ledger.key_file;
    return data() / name;
  }
  static bool is_kept_data(const std::string& name) { return name != "database.dump" && name != "finetuned.toml"; }

  void refuse_what_is_there() {
    const auto tables = pool_.transact(Scope::system(), [](Transaction& tx) {
      return tx.execute("SELECT count(*) AS tables FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace")
          .row(0)
          .integer("tables");
    });
    if (tables > 0)
      throw base::UsageError("the database has " + std::to_string(tables) +
                             " tables: restore into an empty one (createdb), and name it in database.url");
    for (const json::value& entry : manifest_.at("files").as_array()) {
      const std::string name = text(entry.as_object(), "path");
      const fs::path place = place_of(name);
      if (is_kept_data(name) && fs::exists(place) && base::sha256_file(place) != text(entry.as_object(), "sha256"))
        throw base::UsageError(place.string() + " is there, and is another than the backup's: restore into an empty data directory");
    }
  }

  static void expect_hash(const fs::path& path, const std::string& sha256) {
    if (!fs::exists(path)) throw base::UsageError("the backup is not whole: " + path.string() + " is missing");
    if (base::sha256_file(path) != sha256) throw base::UsageError("the backup is damaged: " + path.string() + " has another SHA-256 than its manifest says");
  }

  fs::path kept_path(const std::string& id) const { return directory_ / "objects" / id.substr(0, 2) / id.substr(2); }

  void check_backup() {
    for (const json::value& file : manifest_.at("files").as_array())
      expect_hash(backup_ / text(file.as_object(), "path"), text(file.as_object(), "sha256"));
    for (const json::value& model : manifest_.at("models").as_array())
      for (const json::value& file : model.as_object().at("files").as_array())
        expect_hash(directory_ / "models" / text(model.as_object(), "folder") / text(file.as_object(), "name"), text(file.as_object(), "sha256"));
    for (const json::value& object : manifest_.at("objects").as_array())
      expect_hash(kept_path(text(object.as_object(), "id")), text(object.as_object(), "sha256"));
  }

  void put_keys() {
    for (const json::value& file : manifest_.at("files").as_array()) {
      const std::string name = text(file.as_object(), "path");
      if (!is_kept_data(name)) continue;
      const fs::path place = place_of(name);
      fs::create_directories(place.parent_path());
      copy_file_durably(backup_ / name, place, 0600);
      ++result_.files;
    }
  }

  void put_models() {
    for (const json::value& model : manifest_.at("models").as_array()) {
      const std::string folder = text(model.as_object(), "folder");
      const fs::path to = models_directory(settings_) / folder;
      fs::create_directories(to);
      for (const json::value& file : model.as_object().at("files").as_array()) {
        const std::string name = text(file.as_object(), "name");
        copy_file_durably(directory_ / "models" / folder / name, to / name);
        ++result_.files;
      }
      base::sync_directory(models_directory(settings_));
    }
  }

  void put_objects() {
    objects::LocalStore kept(directory_ / "objects");
    for (const json::value& entry : manifest_.at("objects").as_array()) {
      const std::string id = text(entry.as_object(), "id");
      ++result_.objects;
      if (is_there(id, entry.as_object())) continue;
      const auto reader = kept.open(id);
      const auto writer = store_.create_again(id, reader->size());
      std::vector<char> piece(kPieceBytes);
      for (std::uint64_t at = 0; at < reader->size();) {
        const std::size_t got = reader->read(at, piece.data(), piece.size());
        if (got == 0) throw objects::ObjectMissing(id);
        writer->write({piece.data(), got});
        at += got;
      }
      writer->commit();
    }
  }

  bool is_there(const std::string& id, const json::object& entry) {
    try {
      const auto reader = store_.open(id);
      if (reader->size() != number(entry, "bytes")) return false;
      base::Sha256 hash;
      std::vector<char> piece(kPieceBytes);
      for (std::uint64_t at = 0; at < reader->size();) {
        const std::size_t got = reader->read(at, piece.data(), piece.size());
        if (got == 0) return false;
        hash.update({piece.data(), got});
        at += got;
      }
      return hash.hex() == text(entry, "sha256");
    } catch (const objects::ObjectMissing&) {
      return false;
    }
  }

  /// Last: a database with rows is a platform that roles may begin to serve.
  void put_database() {
    auto variables = postgres::connection_variables(settings_.database.url);
    run_program({"pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction",
                 "--dbname=" + variables["PGDATABASE"], (backup_ / "database.dump").string()},
                variables);
    std::vector<std::string> gone;
    for (const json::value& id : manifest_.at("gone").as_array()) gone.emplace_back(id.as_string());
    pool_.transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE file SET deleted_at = clock_timestamp() WHERE object_id = ANY ($1::text[]) AND deleted_at IS NULL",
                 {postgres::Value::texts(gone)});
      for (const json::value& model : manifest_.at("models").as_array())
        tx.execute("UPDATE base_model SET directory = $2 WHERE name = $1",
                   {text(model.as_object(), "name"), (models_directory(settings_) / text(model.as_object(), "folder")).string()});
      tx.execute("DELETE FROM worker");
      // As migrations/0014_ledger_chain.sql has it; no privileges are in a dump, whose roles may be others.
      tx.execute_script("REVOKE UPDATE, DELETE, TRUNCATE ON transfer, usage, audit_log, ledger_seal, ledger_head FROM PUBLIC, CURRENT_USER;"
                        " GRANT UPDATE (seq) ON transfer TO CURRENT_USER");
      // Their workers are gone; nobody's fault is counted. The epoch moves on, should one of them still be alive somewhere.
      result_.runs_queued = tx.execute("UPDATE job SET state = 'queued', lease_epoch = lease_epoch + 1, lease_until = NULL, worker = NULL,"
                                       " estimated_finish = NULL, step = coalesce(state_step, 0), trained_tokens = state_tokens"
                                       " WHERE state = 'running' AND cancel_requested_at IS NULL AND pause_requested_at IS NULL")
                                .affected_rows();
    });
  }

  const base::Settings& settings_;
  postgres::Pool& pool_;
  objects::ObjectStore& store_;
  const fs::path directory_;
  const fs::path backup_;
  json::object manifest_;
  RestoreResult result_;
};

}  // namespace

RestoreResult restore_backup(const base::Settings& settings, postgres::Pool& pool, objects::ObjectStore& store,
                             const fs::path& directory, const std::string& name) {
  return Restore(settings, pool, store, directory, name).run();
}

}  // namespace finetuned::services
