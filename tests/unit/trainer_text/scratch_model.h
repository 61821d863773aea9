#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::text {

/// A model directory of the test's own, gone with it.
class ScratchModel {
 public:
  ScratchModel();
  ~ScratchModel();
  ScratchModel(const ScratchModel&) = delete;
  ScratchModel& operator=(const ScratchModel&) = delete;

  const std::filesystem::path& path() const { return path_; }
  void write(std::string_view name, std::string_view text) const;
  Tokenizer load() const { return Tokenizer::load(path_); }

 private:
  std::filesystem::path path_;
};

/// tokenizer.json of a BPE model: `pieces` get ids 0, 1, ...; `merges` are "a b"; `parts` holds the other
/// top-level fields as JSON text (`"pre_tokenizer":{...}`), `model` further fields of the model
/// (`"fuse_unk":true`).
std::string tokenizer_json(const std::vector<std::string>& pieces, const std::vector<std::string>& merges,
                           const std::string& parts, const std::string& model = "");

/// The 256 byte-level pieces in byte order, then `more`.
std::vector<std::string> byte_pieces(const std::vector<std::string>& more);
/// `<unk> <s> </s>`, the 256 `<0xXX>`, then `more`.
std::vector<std::string> sentencepiece_pieces(const std::vector<std::string>& more);

/// The pieces of the ids of `text`.
std::vector<std::string> pieces_of(const Tokenizer& tokenizer, std::string_view text,
                                   const EncodeOptions& options = {});

/// `../shared/NAME` beside the repository; empty where it is absent.
std::filesystem::path shared_path(std::string_view name);

}  // namespace finetuned::text
