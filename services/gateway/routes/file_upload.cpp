#include <algorithm>
#include <array>
#include <charconv>

#include "base/errors.h"
#include "base/ids.h"
#include "base/log.h"
#include "billing/quotas.h"
#include "services/gateway/file_request.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/multipart.h"
#include "services/gateway/object_calls.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "services/gateway/utf8.h"
#include "storage/file_store.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace {

constexpr std::uint64_t kMultipartOverhead = 64 * 1024;  // delimiters, part heads and the small parts
constexpr std::size_t kMostFieldBytes = 1024;

[[noreturn]] void refuse(const char* code, const std::string& message, const char* param) {
  throw base::bad_request(code, message, param);
}

/// Streams the part `file` into the object store, gathers the small ones, and registers the file at the end.
class Upload final : public BodyConsumer, private PartSink {
 public:
  Upload(const Platform& platform, const Request& request)
      : platform_(platform), request_(request), project_id_(request.principal.project_id),
        reader_(multipart_boundary(request.header("content-type")), *this) {}

  void consume(std::string_view bytes) override { reader_.feed(bytes); }
  Response finish() override;

 private:
  void on_part(const PartHead& head) override;
  void on_data(std::string_view data) override;
  void on_part_end() override;
  storage::NewFile describe() const;
  std::optional<std::int64_t> expires_after() const;
  base::json::object store(const storage::NewFile& file);
  void discard(const std::string& object);

  const Platform& platform_;
  const Request& request_;
  std::string project_id_;
  MultipartReader reader_;
  std::unique_ptr<objects::ObjectWriter> writer_;  // destroyed uncommitted, it leaves nothing
  std::string filename_;
  enum class Part { kFile, kField, kUnknown };
  Part part_ = Part::kUnknown;  ///< the one that is read; what it says is dropped where it is unknown
  StringPairs fields_;

  std::string_view field(std::string_view name) const {
    for (const auto& [key, value] : fields_)
      if (key == name) return value;
    return {};
  }
};

void Upload::on_part(const PartHead& head) {
  constexpr std::array<std::string_view, 3> known{"purpose", "expires_after[anchor]", "expires_after[seconds]"};
  if (head.name == "file") {
    part_ = Part::kFile;
    if (writer_) refuse("invalid_multipart", "There are two parts named file.", "file");
    if (!head.filename) refuse("invalid_multipart", "The part file has no filename.", "file");
    filename_ = *head.filename;
    writer_ = platform_.objects.create(platform_.most_upload_bytes);
  } else if (std::find(known.begin(), known.end(), head.name) != known.end()) {
    part_ = Part::kField;
    if (!field(head.name).empty()) throw base::bad_request("invalid_multipart", "A part is repeated.", head.name);
    fields_.emplace_back(head.name, "");
  } else {
    part_ = Part::kUnknown;
  }
}

void Upload::on_data(std::string_view data) {
  if (part_ == Part::kFile) return writer_->write(data);
  if (part_ == Part::kUnknown) return;
  std::string& value = fields_.back().second;
  value += data;
  if (value.size() > kMostFieldBytes)
    throw base::bad_request("invalid_value", "A form field is longer than 1024 bytes.", fields_.back().first);
}

void Upload::on_part_end() {
  if (part_ == Part::kField && !is_utf8(fields_.back().second))
    throw base::bad_request("invalid_value", "A form field is not in UTF-8.", fields_.back().first);
}

std::optional<std::int64_t> Upload::expires_after() const {
  const auto anchor = field("expires_after[anchor]"), seconds = field("expires_after[seconds]");
  if (anchor.empty() && seconds.empty()) return std::nullopt;
  std::int64_t after = 0;
  const auto [end, error] = std::from_chars(seconds.data(), seconds.data() + seconds.size(), after);
  const bool whole = error == std::errc() && end == seconds.data() + seconds.size();
  return checked_expiry(anchor, whole ? std::optional(after) : std::nullopt);
}

/// Everything but the object, checked.
storage::NewFile Upload::describe() const {
  if (!writer_) refuse("missing_required_parameter", "Missing required parameter: file.", "file");
  const auto purpose = field("purpose");
  if (purpose.empty()) refuse("missing_required_parameter", "Missing required parameter: purpose.", "purpose");
  check_purpose(purpose);
  if (purpose == "fine-tune" && writer_->bytes_written() == 0) refuse("empty_file", "The file is empty.", "file");
  storage::NewFile file;
  file.id = base::make_id("file");
  file.project_id = project_id_;
  file.purpose = purpose;
  file.filename = filename_;
  file.status = purpose == "fine-tune" ? storage::FileStatus::kUploaded : storage::FileStatus::kProcessed;
  file.expires_after_seconds = expires_after();
  return file;
}

/// Two clients' boundaries differ where their forms do not.
std::string content_of(const storage::NewFile& file) {
  return file.purpose + "\n" + file.filename + "\n" + std::to_string(file.expires_after_seconds.value_or(0)) + "\n" + file.sha256;
}

/// Registers the file; where the same form made one before, that one is answered, and this object goes. Where the answer
/// to COMMIT was lost, the row itself tells whether it happened.
base::json::object Upload::store(const storage::NewFile& file) {
  const auto scope = postgres::Scope::project(project_id_);
  const auto register_it = [&](postgres::Transaction& tx) {
    storage::FileStore files(tx);
    const auto make = [&] {
      billing::check_upload(tx, project_id_, file.bytes);
      return file_shape(files.create(file));
    };
    const auto is_there = [&](const base::json::object& earlier) {
      return files.find(std::string(earlier.at("id").as_string())).has_value();
    };
    return answer_once(tx, platform_, request_, make, {.content = content_of(file), .holds = is_there});
  };
  try {
    auto shape = platform_.database.transact(scope, register_it);
    if (std::string(shape.at("id").as_string()) != file.id) discard(file.object_id);
    return shape;
  } catch (const postgres::CommitOutcomeUnknown&) {
    const auto found =
        platform_.database.transact(scope, [&](postgres::Transaction& tx) { return storage::FileStore(tx).find(file.id); });
    if (found) return file_shape(*found);
    discard(file.object_id);
    throw base::unavailable("The database went away while the file was registered; nothing was kept.");
  } catch (...) {
    discard(file.object_id);
    throw;
  }
}

/// No row names it. Beside the answer, which is at hand and does not change where the removal hangs.
void Upload::discard(const std::string& object) {
  platform_.object_calls.see_to([&objects = platform_.objects, object, request = request_.id] {
    try {
      objects.remove(object);
    } catch (const std::exception& error) {
      base::log_warn("an object that no file has may stay", {{"request", request}, {"object", object}, {"error", error.what()}});
    }
  });
}

Response Upload::finish() {
  reader_.finish();
  storage::NewFile file = describe();
  const objects::StoredObject object = writer_->commit();
  file.object_id = object.id;
  file.bytes = static_cast<std::int64_t>(object.bytes);
  file.sha256 = object.sha256;
  const auto shape = store(file);
  if (std::string(shape.at("id").as_string()) == file.id)
    base::log_info("a file was uploaded", {{"request", request_.id}, {"file", file.id}, {"project", project_id_}, {"bytes", file.bytes}});
  return json_response(shape);
}

}  // namespace

void add_file_upload_route(Router& router, const Platform& platform) {
  router.add_stream("POST", "/v1/files", Access::kProject, platform.most_upload_bytes + kMultipartOverhead,
                    [&platform](const Request& request) { return std::make_unique<Upload>(platform, request); });
}

}  // namespace finetuned::gateway
