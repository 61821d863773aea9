#include "services/worker/resident_bases.h"

#include <algorithm>
#include <sys/stat.h>
#include <vector>

#include "base/expects.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"
#include "trainer/model/weight_source.h"
#include "trainer/training/records.h"

namespace finetuned::worker {

namespace fs = std::filesystem;

namespace {

/// Tables of a tokenizer in memory over its file's size. (Measured: 8.7 while one of 16,000 tokens is read.)
constexpr std::uint64_t kTokenizerGrowth = 9;

struct BrokenOff {};
struct HandedOver : BrokenOff {};  // to the run that wants it

std::uint64_t encoder_bytes(const fs::path& directory) {
  std::error_code absent;
  const auto bytes = fs::file_size(directory / "tokenizer.json", absent);
  return absent ? 0 : kTokenizerGrowth * bytes;
}

}  // namespace

class ResidentBases::Wanted {
 public:
  Wanted(ResidentBases& bases, const fs::path& directory) : bases_(bases) {
    set(Want{directory, std::chrono::steady_clock::now()});
    reading_ = std::unique_lock(bases.reading_);
  }
  ~Wanted() { set(std::nullopt); }
  Wanted(const Wanted&) = delete;
  Wanted& operator=(const Wanted&) = delete;

 private:
  void set(const std::optional<Want>& want) {
    const std::lock_guard lock(bases_.mutex_);
    bases_.wanted_ = want;
  }

  ResidentBases& bases_;
  std::unique_lock<std::mutex> reading_;
};

ResidentBases::Lent::Lent(ResidentBases& bases, std::shared_ptr<const Weights> weights)
    : bases_(bases), weights_(std::move(weights)) {}

ResidentBases::Lent::~Lent() {
  const std::lock_guard lock(bases_.mutex_);
  bases_.lent_ = nullptr;
  bases_.lent_bytes_ = 0;
}

std::string ResidentBases::fingerprint(const fs::path& directory) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error)) {
    struct stat found {};
    if (::stat(at->path().c_str(), &found) != 0 || !S_ISREG(found.st_mode)) continue;
    std::string file = at->path().filename().string();
    for (const auto number :
         {static_cast<std::int64_t>(found.st_dev), static_cast<std::int64_t>(found.st_ino),
          static_cast<std::int64_t>(found.st_size), static_cast<std::int64_t>(found.st_mtim.tv_sec),
          static_cast<std::int64_t>(found.st_mtim.tv_nsec)})
      file += " " + std::to_string(number);
    files.push_back(std::move(file));
  }
  std::sort(files.begin(), files.end());
  std::string all = error.message();
  for (const std::string& file : files)
    all += "\n" + file;
  return all;
}

std::shared_ptr<const text::RowEncoder> ResidentBases::encoder(const fs::path& directory) {
  const std::string now = fingerprint(directory);
  {
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : entries_)
      if (entry.directory == directory && entry.fingerprint == now) return entry.encoder;
  }
  const Wanted wanted(*this, directory);
  return fresh_entry(directory).encoder;
}

ResidentBases::Lent ResidentBases::lend(const fs::path& directory, std::uint64_t run_bytes,
                                        const EachPiece& each_piece) {
  const Wanted wanted(*this, directory);
  base::expects(!in_use(), "one run is done before the next one begins");
  Entry& entry = fresh_entry(directory);
  const std::uint64_t bytes = run_bytes + encoder_bytes(directory);
  make_room(directory, bytes);
  if (!entry.weights) read_weights(entry, each_piece);
  const std::lock_guard lock(mutex_);
  lent_ = entry.weights.get();
  lent_bytes_ = bytes;
  return {*this, entry.weights};
}

ResidentBases::Ahead ResidentBases::read_ahead(const fs::path& directory, const std::stop_token& stop,
                                               const EachPiece& each_piece) {
  const std::lock_guard reading(reading_);
  const auto check = [&] {
    if (each_piece) each_piece();
    const std::lock_guard lock(mutex_);
    if (stop.stop_requested() || (wanted_ && wanted_->directory != directory)) throw BrokenOff();
    if (wanted_ && std::chrono::steady_clock::now() - wanted_->since >= patience_) throw HandedOver();
  };
  const std::string now = fingerprint(directory);
  std::uint64_t beside = 0;
  {
    const std::lock_guard lock(mutex_);
    beside = lent_bytes_;
    for (const Entry& entry : entries_)
      if (entry.directory == directory && entry.weights && entry.fingerprint == now)
        return Ahead::kReady;
  }
  const std::uint64_t bytes =
      model::AnyBase::planned_bytes(device_, formats::read_model_config(directory)) +
      encoder_bytes(directory);
  if (beside + bytes > limit_bytes_) return Ahead::kNoRoom;
  try {
    check();
    make_room(directory, beside + bytes);
    read_weights(fresh_entry(directory), check);
  } catch (const BrokenOff&) {
    return Ahead::kBrokenOff;
  }
  return Ahead::kReady;
}

bool ResidentBases::in_use() const {
  const std::lock_guard lock(mutex_);
  return lent_ != nullptr;
}

ResidentBases::Counts ResidentBases::counts() const {
  const std::lock_guard lock(mutex_);
  Counts counts = counts_;
  for (const Entry& entry : entries_) {
    counts.bases += entry.weights ? 1 : 0;
    counts.bytes += entry.bytes;
  }
  return counts;
}

/// The directory's own entry, as its files are now, in front of all others; its tokenizer is read where it
/// must be.
ResidentBases::Entry& ResidentBases::fresh_entry(const fs::path& directory) {
  const std::string now = fingerprint(directory);
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.directory == directory; });
  if (found != entries_.end() && found->fingerprint == now) {
    const std::lock_guard lock(mutex_);
    entries_.splice(entries_.begin(), entries_, found);
    return entries_.front();
  }
  forget(directory);
  Entry entry;
  entry.directory = directory;
  entry.fingerprint = now;
  entry.encoder = std::make_shared<const text::RowEncoder>(directory);
  entry.bytes = encoder_bytes(directory);
  const std::lock_guard lock(mutex_);
  entries_.push_front(std::move(entry));
  return entries_.front();
}

/// Into `entry`, from where an earlier attempt handed over; where that fails, the entry is gone. `each_piece` is called now and
/// then, and may throw: HandedOver leaves what is read.
void ResidentBases::read_weights(Entry& entry, const EachPiece& each_piece) {
  const fs::path directory = entry.directory;
  try {
    const formats::ModelConfig config = formats::read_model_config(directory);
    const formats::Weights files = formats::Weights::open(directory);
    formats::check_weights(config, files);
    const model::WeightSource stored = model::stored_weights(files);
    tensor::AnyDevice copier(device_, 1);  // beside the one that a run may be on
    begin_weights(entry, copier, config);
    const std::vector<formats::ExpectedTensor> tensors = formats::expected_tensors(config);
    for (; entry.tensors_read < tensors.size(); ++entry.tensors_read) {
      if (each_piece) each_piece();
      entry.begun->values.read(copier, tensors[entry.tensors_read].name, stored);
    }
    copier.visit([](auto& device) { device.finish(); });
    entry.begun->hashes = training::hash_base(directory, each_piece);
    const std::lock_guard lock(mutex_);
    entry.weights = std::move(entry.begun);
    ++counts_.reads;
  } catch (const HandedOver&) {
    throw;
  } catch (...) {
    forget(directory);
    throw;
  }
}

void ResidentBases::begin_weights(Entry& entry, tensor::AnyDevice& device, const formats::ModelConfig& config) {
  if (entry.begun) return;
  auto begun = std::make_shared<Weights>(device, config);
  begun->fingerprint = entry.fingerprint;
  const std::lock_guard lock(mutex_);
  entry.bytes += begun->values.bytes();
  entry.begun = std::move(begun);
  entry.tensors_read = 0;
}

/// Drops what was used longest ago until `bytes` fit beside all that is neither lent nor of `directory`.
void ResidentBases::make_room(const fs::path& directory, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto counts = [&](const Entry& entry) { return entry.directory != directory && !is_lent(entry); };
  std::uint64_t kept = 0;
  for (const Entry& entry : entries_)
    kept += counts(entry) ? entry.bytes : 0;
  for (auto at = entries_.end(); at != entries_.begin() && bytes + kept > limit_bytes_;) {
    --at;
    if (!counts(*at)) continue;
    kept -= at->bytes;
    counts_.evictions += at->weights ? 1 : 0;
    at = entries_.erase(at);
  }
}

void ResidentBases::forget(const fs::path& directory) {
  const std::lock_guard lock(mutex_);
  entries_.remove_if([&](const Entry& entry) { return entry.directory == directory; });
}

bool ResidentBases::is_lent(const Entry& entry) const {
  return lent_ && entry.weights.get() == lent_;
}

}  // namespace finetuned::worker
