#include "scratch_model.h"

#include <atomic>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <fstream>
#include <unistd.h>

#include "trainer/text/byte_alphabet.h"

namespace finetuned::text {

namespace json = base::json;

ScratchModel::ScratchModel() {
  static std::atomic<int> count{0};
  path_ = std::filesystem::temp_directory_path() /
          ("finetuned-text-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
  std::filesystem::create_directories(path_);
}

ScratchModel::~ScratchModel() {
  std::filesystem::remove_all(path_);
}

void ScratchModel::write(std::string_view name, std::string_view text) const {
  std::ofstream(path_ / name, std::ios::binary) << text;
}

std::string tokenizer_json(const std::vector<std::string>& pieces, const std::vector<std::string>& merges,
                           const std::string& parts, const std::string& model) {
  json::object vocabulary;
  for (std::size_t i = 0; i < pieces.size(); ++i)
    vocabulary[pieces[i]] = i;
  json::array list;
  for (const std::string& merge : merges)
    list.emplace_back(merge);
  return "{" + parts + (parts.empty() ? "" : ",") + R"("model":{"type":"BPE",)" + model +
         (model.empty() ? "" : ",") + R"("vocab":)" + json::serialize(vocabulary) + R"(,"merges":)" +
         json::serialize(list) + "}}";
}

std::vector<std::string> byte_pieces(const std::vector<std::string>& more) {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) {
    const char one = static_cast<char>(byte);
    pieces.push_back(to_printable(std::string_view(&one, 1)));
  }
  pieces.insert(pieces.end(), more.begin(), more.end());
  return pieces;
}

std::vector<std::string> sentencepiece_pieces(const std::vector<std::string>& more) {
  std::vector<std::string> pieces{"<unk>", "<s>", "</s>"};
  for (unsigned byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", byte);
    pieces.emplace_back(name);
  }
  pieces.insert(pieces.end(), more.begin(), more.end());
  return pieces;
}

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, std::string_view text,
                                   const EncodeOptions& options) {
  std::vector<std::string> pieces;
  for (const std::int32_t id : tokenizer.encode(text, options))
    pieces.emplace_back(tokenizer.piece_of(id));
  return pieces;
}

std::filesystem::path shared_path(std::string_view name) {
  const auto path = std::filesystem::path(FINETUNED_SOURCE_DIR) / "../shared" / name;
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}

}  // namespace finetuned::text
