#include <algorithm>
#include <string_view>

#include "base/errors.h"
#include "services/gateway/range.h"
#include "services/gateway/render.h"
#include "services/gateway/routes/file_lookup.h"
#include "services/gateway/routes/routes.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace {

class ObjectSource final : public BodySource {
 public:
  ObjectSource(std::unique_ptr<objects::ObjectReader> reader, std::uint64_t begin)
      : reader_(std::move(reader)), at_(begin) {}

  std::size_t read(char* into, std::size_t size) override {
    const std::size_t got = reader_->read(at_, into, size);
    at_ += got;
    return got;
  }

 private:
  std::unique_ptr<objects::ObjectReader> reader_;
  std::uint64_t at_;
};

/// Of a download, by RFC 6266: a quoted string, and beside it all of the name where that is not ASCII (RFC 8187). The name is
/// a label that came from a client.
std::string disposition_of(const std::string& name) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string quoted, encoded;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    quoted += c == '"' || c == '\\' || byte >= 0x7f ? '_' : c;
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '.' || c == '_') encoded += c;
    else encoded += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  std::string text = "attachment; filename=\"" + quoted + "\"";
  if (quoted != name) text += "; filename*=UTF-8''" + encoded;
  return text;
}

/// Whether an If-None-Match names the tag, strong or weak, among others, or is `*`.
bool names(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    std::string_view one = list.substr(0, comma);
    list = comma == std::string_view::npos ? "" : list.substr(comma + 1);
    one.remove_prefix(std::min(one.find_first_not_of(" \t"), one.size()));
    if (const auto end = one.find_last_not_of(" \t"); end != std::string_view::npos) one = one.substr(0, end + 1);
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (one == etag || one == "*") return true;
  }
  return false;
}

Response unsatisfiable(std::uint64_t size) {
  Response response = render_error(base::ApiError(416, "invalid_request_error", "range_not_satisfiable",
                                                  "The range lies beyond the file's " + std::to_string(size) + " bytes."));
  response.headers.emplace_back("content-range", "bytes */" + std::to_string(size));
  return response;
}

}  // namespace

Response content_of(const Platform& platform, const Request& request, const storage::File& file) {
  const std::string etag = "\"" + file.sha256 + "\"";
  Response response;
  response.headers.emplace_back("etag", etag);
  if (names(request.header("if-none-match").value_or(""), etag)) {
    response.status = 304;
    return response;
  }
  response.headers.emplace_back("content-type", "application/octet-stream");
  response.headers.emplace_back("content-disposition", disposition_of(file.filename));
  response.headers.emplace_back("accept-ranges", "bytes");
  response.headers.emplace_back("x-content-type-options", "nosniff");
  auto reader = platform.objects.open(file.object_id);
  ByteRange range{0, reader->size()};
  const auto if_range = request.header("if-range");
  const auto asked = request.header("range");
  if (asked && (!if_range || *if_range == etag)) {
    const auto part = parse_range(*asked, reader->size());
    if (part.unsatisfiable) return unsatisfiable(reader->size());
    if (part.range) {
      range = *part.range;
      response.status = 206;
      response.headers.emplace_back("content-range", "bytes " + std::to_string(range.begin) + "-" +
                                                         std::to_string(range.end - 1) + "/" +
                                                         std::to_string(reader->size()));
    }
  }
  response.source_bytes = range.end - range.begin;
  response.source = std::make_unique<ObjectSource>(std::move(reader), range.begin);
  return response;
}

void add_file_content_route(Router& router, const Platform& platform) {
  router.add("GET", "/v1/files/{file_id}/content", Access::kProject,
             [&platform](const Request& request) {
               const auto file = platform.database.transact(
                   postgres::Scope::project(request.principal.project_id),
                   [&](postgres::Transaction& tx) { return find_file(tx, request.params.at(0)); });
               return content_of(platform, request, file);
             },
             Threads::kObjects);
}

}  // namespace finetuned::gateway
