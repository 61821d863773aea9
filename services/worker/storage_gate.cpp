#include "services/worker/storage_gate.h"

#include <algorithm>
#include <utility>

#include "base/files.h"
#include "base/log.h"

namespace finetuned::worker {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kProbeBytes = 1 << 20;
constexpr char kProbeName[] = "probe";

/// What a probe leaves where it is broken off.
struct Leftover {
  const std::function<void()> remove;
  ~Leftover() {
    try {
      remove();
    } catch (const std::exception& error) {
      base::log_warn("a probe of the storage stays there", {{"why", error.what()}});
    }
  }
};

void probe_store(objects::ObjectStore& store, const std::string& content) {
  const auto writer = store.create(content.size());
  writer->write(content);
  const std::string id = writer->commit().id;
  const Leftover leftover{[&] { store.remove(id); }};
  if (objects::read_object(store, id, content.size()) != content)
    throw objects::StorageUnavailable("object " + id + " came back in other bytes");
}

void probe_directory(const fs::path& directory, const std::string& content) {
  fs::create_directories(directory);
  const fs::path file = directory / kProbeName;
  const Leftover leftover{[&] { fs::remove(file); }};
  base::write_durably(file, content, 0600);
  if (base::read_file(file, content.size()) != content)
    throw objects::StorageUnavailable(file.string() + " came back in other bytes");
}

}  // namespace

StorageGate::StorageGate(objects::ObjectStore& store, fs::path scratch_directory)
    : store_(store), scratch_(std::move(scratch_directory)) {}

void StorageGate::close() {
  pause_ = std::min(std::max(2 * pause_, kFirstPause), kLongestPause);
  next_ = std::chrono::steady_clock::now() + pause_;
}

bool StorageGate::open() {
  if (pause_.count() == 0) return true;
  return std::chrono::steady_clock::now() >= next_ && probe();
}

bool StorageGate::probe() {
  const std::string content(kProbeBytes, 'p');
  try {
    probe_store(store_, content);
    probe_directory(scratch_, content);
  } catch (const std::exception& error) {
    const std::string fault = storage_fault_of(error);
    close();
    base::log_warn("the storage does not work; no job is taken until it does",
                   {{"why", fault.empty() ? error.what() : fault}, {"next_try_seconds", pause_.count()}});
    return false;
  }
  if (pause_.count() > 0) base::log_info("the storage works again");
  pause_ = std::chrono::seconds(0);
  return true;
}

std::string storage_fault_of(const std::exception& error) {
  if (const auto* fault = dynamic_cast<const objects::StorageFault*>(&error)) return fault->detail;
  const auto* file = dynamic_cast<const fs::filesystem_error*>(&error);
  return file && base::is_storage_fault(file->code()) ? file->what() : "";
}

}  // namespace finetuned::worker
