#include "services/object_scrub.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <map>
#include <thread>
#include <unordered_map>

#include "base/sha256.h"
#include "storage/named_objects.h"

namespace finetuned::services {

namespace {

using postgres::Scope;
using postgres::Transaction;
using Kind = ScrubFinding::Kind;

constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::chrono::milliseconds kStatementLimit{300'000};
constexpr std::size_t kMostAsked = 1'000;

/// Waits until as much as was read may have been.
class Pace {
 public:
  explicit Pace(std::uint64_t bytes_per_second) : rate_(bytes_per_second) {}
  void spend(std::uint64_t bytes) {
    if (rate_ == 0) return;
    spent_ += bytes;
    std::this_thread::sleep_until(began_ + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                               std::chrono::duration<double>(static_cast<double>(spent_) / static_cast<double>(rate_))));
  }

 private:
  const std::uint64_t rate_;
  std::uint64_t spent_ = 0;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

/// All of it, so that a disk that cannot read it any more says so.
std::string hash_of(objects::ObjectReader& reader, Pace& pace) {
  base::Sha256 hash;
  std::vector<char> piece(kPieceBytes);
  for (std::uint64_t at = 0; at < reader.size();) {
    const std::size_t got = reader.read(at, piece.data(), piece.size());
    if (got == 0) break;
    hash.update({piece.data(), got});
    at += got;
    pace.spend(got);
  }
  return hash.hex();
}

class Scrub {
 public:
  Scrub(postgres::Pool& pool, objects::ObjectStore& store, const ScrubOptions& options)
      : pool_(pool), store_(store), options_(options), pace_(options.bytes_per_second) {}

  ScrubResult run() {
    store_.list([&](const objects::ObjectInfo& object) { there_.emplace(object.id, object); });
    result_.objects = there_.size();
    // After the list: whatever is named by now and was not listed is either new or missing.
    const auto named = pool_.snapshot(
        Scope::system(), [](Transaction& tx) { return storage::named_objects(tx); }, kStatementLimit);
    for (const storage::NamedObject& object : named) {
      check(object);
      there_.erase(object.id);
    }
    look_at_orphans();
    return std::move(result_);
  }

 private:
  void find(Kind kind, const std::string& object, std::string detail) {
    result_.findings.push_back({kind, object, std::move(detail)});
  }

  bool is_known(const std::string& id) {
    return !pool_.transact(Scope::system(), [&](Transaction& tx) { return storage::known_objects(tx, {id}); }).empty();
  }

  void check(const storage::NamedObject& object) {
    std::unique_ptr<objects::ObjectReader> reader;
    try {
      reader = store_.open(object.id);
    } catch (const objects::ObjectMissing&) {
      if (is_known(object.id)) find(Kind::kMissing, object.id, object.named_by);
      return;
    }
    std::string hash;
    try {
      hash = hash_of(*reader, pace_);
    } catch (const objects::StorageFault& fault) {
      return find(Kind::kDamaged, object.id, object.named_by + ": it cannot be read: " + fault.detail);
    }
    result_.bytes += reader->size();
    if (object.sha256) ++result_.hashed;
    if (object.bytes && static_cast<std::uint64_t>(*object.bytes) != reader->size())
      find(Kind::kDamaged, object.id,
           object.named_by + ": it has " + std::to_string(reader->size()) + " bytes, not " + std::to_string(*object.bytes));
    else if (object.sha256 && *object.sha256 != hash)
      find(Kind::kDamaged, object.id, object.named_by + ": its SHA-256 is " + hash + ", not " + *object.sha256);
    if (options_.progress) options_.progress(++done_, result_.bytes);
  }

  /// What is left of the list.
  void look_at_orphans() {
    std::vector<std::string> ids;
    const std::int64_t now = std::time(nullptr);
    for (const auto& [id, object] : there_)
      if (now - object.modified >= options_.orphan_seconds) ids.push_back(id);
    for (std::size_t at = 0; at < ids.size(); at += kMostAsked) {
      const std::vector<std::string> some(ids.begin() + static_cast<std::ptrdiff_t>(at),
                                          ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), at + kMostAsked)));
      const auto known = pool_.transact(
          Scope::system(), [&](Transaction& tx) { return storage::known_objects(tx, some); }, kStatementLimit);
      for (const std::string& id : some) {
        if (std::find(known.begin(), known.end(), id) != known.end()) continue;
        find(Kind::kOrphan, id, std::to_string(there_.at(id).bytes) + " bytes");
        if (options_.delete_orphans && store_.remove(id)) ++result_.orphans_removed;
      }
    }
  }

  postgres::Pool& pool_;
  objects::ObjectStore& store_;
  const ScrubOptions& options_;
  Pace pace_;
  std::unordered_map<std::string, objects::ObjectInfo> there_;
  std::uint64_t done_ = 0;
  ScrubResult result_;
};

}  // namespace

bool ScrubResult::damaged() const {
  return std::any_of(findings.begin(), findings.end(), [](const ScrubFinding& one) { return one.kind != Kind::kOrphan; });
}

ScrubResult scrub_objects(postgres::Pool& pool, objects::ObjectStore& store, const ScrubOptions& options) {
  return Scrub(pool, store, options).run();
}

}  // namespace finetuned::services
