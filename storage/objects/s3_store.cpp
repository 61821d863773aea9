#include "storage/objects/s3_store.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>
#include <utility>
#include <vector>

#include "base/base64.h"
#include "base/expects.h"
#include "base/log.h"
#include "base/md5.h"
#include "base/sha256.h"

namespace finetuned::objects {

namespace {

constexpr std::chrono::hours kSweepPause{1};
constexpr std::int64_t kAbandonedSeconds = 86'400;
constexpr std::chrono::milliseconds kLook{2'000};
constexpr std::size_t kPartsOfASize = 2'000;  // of the 10,000 that an upload may have; then they double

std::string key_of(const std::string& id) { return id.substr(0, 2) + "/" + id.substr(2); }

std::string md5_of(std::string_view data) {
  base::Md5 md5;
  md5.update(data);
  return md5.hex();
}

std::string base64_of_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return base::base64_encode(bytes);
}

std::string unquoted(std::string etag) {
  std::erase(etag, '"');
  for (auto at = etag.find("&quot;"); at != std::string::npos; at = etag.find("&quot;")) etag.erase(at, 6);
  return etag;
}

/// An ETag is the MD5 unless the bucket's keys are a key service's.
void check_etag(const S3Answer& answer, const std::string& md5, const std::string& what) {
  const std::string etag = unquoted(answer.header("etag"));
  const bool is_md5 = etag.size() == 32 && answer.header("x-amz-server-side-encryption").rfind("aws:kms", 0) != 0 &&
                      answer.header("x-amz-server-side-encryption-customer-algorithm").empty();
  if (is_md5 && etag != md5) throw StorageUnavailable("S3: " + what + " was stored with the MD5 " + etag + " instead of " + md5);
}

std::uint64_t number_of(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// `2026-11-26T19:20:30.000Z`
std::int64_t unix_seconds_of(const std::string& text) {
  std::tm utc{};
  return ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &utc) ? ::timegm(&utc) : 0;
}

class S3Writer final : public ObjectWriter {
 public:
  S3Writer(S3Client& client, std::string id, std::uint64_t limit_bytes) : client_(client), id_(std::move(id)), limit_(limit_bytes) {}

  ~S3Writer() override {
    if (upload_.empty()) return;
    try {
      client_.ask_once({.method = "DELETE", .key = key_of(id_), .query = "uploadId=" + encode_query(upload_)}, kLook);
    } catch (const std::exception& error) {
      base::log_warn("an upload in parts is left for the sweep", {{"object", id_}, {"why", error.what()}});
    }
  }

  const std::string& id() const override { return id_; }
  std::uint64_t bytes_written() const override { return bytes_; }

  void write(std::string_view data) override {
    base::expects(!committed_, "an object is not written after its commit");
    if (data.size() > limit_ - bytes_) throw ObjectTooLarge(limit_);
    hash_.update(data);
    bytes_ += data.size();
    while (!data.empty()) {
      if (part_.size() == part_bytes()) send_part();
      const std::size_t some = std::min(data.size(), part_bytes() - part_.size());
      part_.append(data.substr(0, some));
      data.remove_prefix(some);
    }
  }

  StoredObject commit() override {
    base::expects(!committed_, "an object is committed once");
    if (upload_.empty()) put_whole();
    else complete();
    committed_ = true;
    return {id_, bytes_, hash_.hex()};
  }

 private:
  std::size_t part_bytes() const { return S3Store::kPartBytes << (etags_.size() / kPartsOfASize); }

  S3Answer put(const std::string& query, const std::string& what) {
    const std::string md5 = md5_of(part_);
    S3Request request{.method = "PUT", .key = key_of(id_), .query = query, .body = std::exchange(part_, {}),
                      .headers = {"Content-MD5: " + base64_of_hex(md5)}};
    S3Answer answer = client_.ask(request);
    if (answer.status >= 300) throw StorageUnavailable("S3: PUT of " + what + " was answered with status " + std::to_string(answer.status));
    check_etag(answer, md5, what);
    request.body.clear();
    part_ = std::move(request.body);  // its memory
    return answer;
  }

  void put_whole() { put("", "object " + id_); }

  void send_part() {
    if (upload_.empty()) {
      const S3Answer begun = client_.ask({.method = "POST", .key = key_of(id_), .query = "uploads="});
      std::size_t at = 0;
      upload_ = next_element(begun.body, "UploadId", at);
      if (upload_.empty()) throw StorageUnavailable("S3: an upload in parts was begun, and has no id");
    }
    const std::string number = std::to_string(etags_.size() + 1);
    const S3Answer answer = put("partNumber=" + number + "&uploadId=" + encode_query(upload_), "part " + number + " of " + id_);
    etags_.push_back(unquoted(answer.header("etag")));
  }

  void complete() {
    if (!part_.empty()) send_part();
    std::string body = "<CompleteMultipartUpload>";
    for (std::size_t i = 0; i < etags_.size(); ++i)
      body += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>\"" + etags_[i] + "\"</ETag></Part>";
    body += "</CompleteMultipartUpload>";
    const S3Answer answer =
        client_.ask({.method = "POST", .key = key_of(id_), .query = "uploadId=" + encode_query(upload_), .body = body});
    // The first try may have done it, its answer being lost: then there is no such upload any more, but the object.
    const bool refused = answer.status >= 300 || answer.body.find("<Error>") != std::string::npos;
    if (refused) {
      const S3Answer there = client_.ask({.method = "HEAD", .key = key_of(id_)});
      if (there.status != 200 || number_of(there.header("content-length")) != bytes_)
        throw StorageUnavailable("S3: the parts of " + id_ + " were not put together: " + answer.body.substr(0, 300));
    }
    upload_.clear();
  }

  S3Client& client_;
  const std::string id_;
  const std::uint64_t limit_;
  base::Sha256 hash_;
  std::uint64_t bytes_ = 0;
  std::string part_;
  std::string upload_;               ///< the id of the upload in parts; empty: there is none, or it is completed
  std::vector<std::string> etags_;  ///< of the parts that are there
  bool committed_ = false;
};

class S3Reader final : public ObjectReader {
 public:
  S3Reader(S3Client& client, std::string id, std::uint64_t size, std::string etag)
      : client_(client), id_(std::move(id)), size_(size), etag_(std::move(etag)) {}

  std::uint64_t size() const override { return size_; }

  std::size_t read(std::uint64_t offset, char* into, std::size_t size) override {
    std::size_t filled = 0;
    while (filled < size && offset + filled < size_) {
      const std::uint64_t at = offset + filled;
      if (at < begin_ || at >= begin_ + window_.size()) fetch(at, size - filled);
      const std::size_t some = std::min<std::size_t>(size - filled, window_.size() - static_cast<std::size_t>(at - begin_));
      std::memcpy(into + filled, window_.data() + (at - begin_), some);
      filled += some;
    }
    return filled;
  }

 private:
  void fetch(std::uint64_t from, std::size_t wanted) {
    const std::uint64_t bytes = std::min<std::uint64_t>(size_ - from, std::max(wanted, S3Store::kWindowBytes));
    S3Request request{.key = key_of(id_), .most_bytes = bytes};
    request.headers = {"Range: bytes=" + std::to_string(from) + "-" + std::to_string(from + bytes - 1)};
    if (!etag_.empty()) request.headers.push_back("If-Match: " + etag_);
    S3Answer answer = client_.ask(request);
    if (answer.status == 404) throw ObjectMissing(id_);
    if (answer.status == 412) throw StorageUnavailable("S3: object " + id_ + " was replaced, which objects never are");
    if (answer.body.size() != bytes)
      throw StorageUnavailable("S3: " + std::to_string(answer.body.size()) + " bytes of " + id_ + " came instead of " + std::to_string(bytes));
    window_ = std::move(answer.body);
    begin_ = from;
  }

  S3Client& client_;
  const std::string id_;
  const std::uint64_t size_;
  const std::string etag_;
  std::string window_;
  std::uint64_t begin_ = 0;  ///< of the window, in the object
};

}  // namespace

S3Store::S3Store(S3Options options) : client_(std::move(options)) {}

std::unique_ptr<ObjectWriter> S3Store::create(std::uint64_t limit_bytes) {
  return std::make_unique<S3Writer>(client_, make_object_id(), limit_bytes);
}

std::unique_ptr<ObjectWriter> S3Store::create_again(const std::string& id, std::uint64_t limit_bytes) {
  if (!is_object_id(id)) throw ObjectMissing(id);
  return std::make_unique<S3Writer>(client_, id, limit_bytes);
}

std::unique_ptr<ObjectReader> S3Store::open(const std::string& id) {
  if (!is_object_id(id)) throw ObjectMissing(id);
  const S3Answer there = client_.ask({.method = "HEAD", .key = key_of(id)});
  if (there.status != 200) throw ObjectMissing(id);
  return std::make_unique<S3Reader>(client_, id, number_of(there.header("content-length")), there.header("etag"));
}

bool S3Store::remove(const std::string& id) {
  if (!is_object_id(id)) return false;
  if (client_.ask({.method = "HEAD", .key = key_of(id)}).status != 200) return false;
  client_.ask({.method = "DELETE", .key = key_of(id)});
  return true;
}

void S3Store::list(const std::function<void(const ObjectInfo&)>& each) {
  const std::string& prefix = client_.options().prefix;
  for (std::string token;;) {
    std::string query = token.empty() ? "" : "continuation-token=" + encode_query(token) + "&";
    query += "list-type=2&max-keys=1000&prefix=" + encode_query(prefix);
    const S3Answer page = client_.ask({.query = query});
    if (page.status != 200) throw StorageUnavailable("S3: there is no bucket '" + client_.options().bucket + "'");
    std::size_t at = 0;
    for (std::string entry = next_element(page.body, "Contents", at); !entry.empty(); entry = next_element(page.body, "Contents", at)) {
      std::size_t key_at = 0, size_at = 0, time_at = 0;
      std::string key = next_element(entry, "Key", key_at).substr(prefix.size());
      if (key.size() != 33 || key[2] != '/') continue;  // nobody's of ours
      const std::string id = key.erase(2, 1);
      if (is_object_id(id))
        each({id, number_of(next_element(entry, "Size", size_at)), unix_seconds_of(next_element(entry, "LastModified", time_at))});
    }
    at = 0;
    token = next_element(page.body, "NextContinuationToken", at);
    if (token.empty()) return;
  }
}

std::size_t S3Store::remove_leftovers() {
  {
    const std::lock_guard lock(mutex_);
    if (std::chrono::steady_clock::now() < next_sweep_) return 0;
    next_sweep_ = std::chrono::steady_clock::now() + kSweepPause;
  }
  const std::string& prefix = client_.options().prefix;
  const S3Answer page = client_.ask({.query = "prefix=" + encode_query(prefix) + "&uploads="});
  std::size_t at = 0, removed = 0;
  for (std::string entry = next_element(page.body, "Upload", at); !entry.empty(); entry = next_element(page.body, "Upload", at)) {
    std::size_t key_at = 0, id_at = 0, time_at = 0;
    const std::string key = next_element(entry, "Key", key_at), upload = next_element(entry, "UploadId", id_at);
    const std::int64_t begun = unix_seconds_of(next_element(entry, "Initiated", time_at));
    if (key.rfind(prefix, 0) != 0 || upload.empty() || begun == 0 || std::time(nullptr) - begun < kAbandonedSeconds) continue;
    client_.ask({.method = "DELETE", .key = key.substr(prefix.size()), .query = "uploadId=" + encode_query(upload)});
    ++removed;
  }
  return removed;
}

bool S3Store::writable() noexcept {
  try {
    return client_.ask_once({.method = "HEAD"}, kLook).status == 200;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace finetuned::objects
