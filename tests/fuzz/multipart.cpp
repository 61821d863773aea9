// A Content-Type value, a line feed, and the multipart body that goes with it.
#include <optional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "services/gateway/multipart.h"
#include "tests/fuzz/fuzz.h"

namespace finetuned::fuzz {
namespace {

struct Part {
  gateway::PartHead head;
  std::string data;
  bool ended = false;
};

class Parts : public gateway::PartSink {
 public:
  void on_part(const gateway::PartHead& head) override {
    expect(list.empty() || list.back().ended, "parts come one after another");
    expect(!head.name.empty() && list.size() < 32, "at most 32 parts, each with a name");
    expect(!head.filename || head.filename->find_first_of("/\\\r\n") == std::string::npos,
           "a filename is a plain label");
    list.push_back({head, {}, false});
  }
  void on_data(std::string_view data) override {
    expect(!list.empty() && !list.back().ended, "data belongs to a part");
    list.back().data += data;
  }
  void on_part_end() override {
    expect(!list.empty() && !list.back().ended, "a part ends once");
    list.back().ended = true;
  }
  std::vector<Part> list;
};

/// The parts, or nothing where the body is refused.
std::optional<std::vector<Part>> read(const std::string& boundary, std::string_view body, Cuts cuts) {
  Parts parts;
  try {
    gateway::MultipartReader reader(boundary, parts);
    feed_in_pieces(body, cuts, [&](std::string_view piece) { reader.feed(piece); });
    reader.finish();
  } catch (const base::ApiError& error) {
    expect(error.status == 400 && error.code == "invalid_multipart", "a broken body is a 400");
    return std::nullopt;
  }
  return std::move(parts.list);
}

void check(const std::string& boundary, std::string_view body) {
  const auto whole = read(boundary, body, Cuts(0, body.size() + 1));
  const std::string cut_line = "\r\n--" + boundary;
  if (whole)
    for (const Part& part : *whole)
      expect(part.ended && part.data.find(cut_line) == std::string::npos, "a part ends before its boundary");
  for (const std::size_t most : {1u, 5u, 200u}) {
    const auto cut = read(boundary, body, Cuts(body.size(), most));
    expect(cut.has_value() == whole.has_value(), "whether a body is refused does not depend on how it is cut");
    if (!cut) continue;
    expect(cut->size() == whole->size(), "the number of parts does not depend on how a body is cut");
    for (std::size_t i = 0; i < cut->size(); ++i) {
      const Part &a = (*cut)[i], &b = (*whole)[i];
      expect(a.data == b.data && a.head.name == b.head.name && a.head.filename == b.head.filename &&
                 a.head.content_type == b.head.content_type,
             "a part does not depend on how a body is cut");
    }
  }
}

}  // namespace
}  // namespace finetuned::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace finetuned;
  const auto text = fuzz::as_text(data, size);
  const auto line = text.substr(0, text.find('\n'));
  std::string boundary;
  try {
    boundary = gateway::multipart_boundary(line);
  } catch (const base::ApiError& error) {
    fuzz::expect(error.status == 415 || error.status == 400, "a Content-Type is refused by 415 or 400");
    return 0;
  }
  fuzz::expect(!boundary.empty() && boundary.size() <= 70, "a boundary has 1 to 70 characters");
  if (line.size() < text.size()) fuzz::check(boundary, text.substr(line.size() + 1));
  return 0;
}
