#include "trainer/text/tokenizer.h"

#include <algorithm>

#include "base/errors.h"
#include "base/files.h"
#include "base/sha256.h"
#include "trainer/text/tokenizer_model.h"
#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

constexpr std::uint64_t kTokenizerBytes = 128u << 20;
constexpr std::uint64_t kConfigBytes = 4u << 20;
// Counts into the fingerprint: to be raised with every change of how rows become tokens.
constexpr std::string_view kMethod = "finetuned rows 1";

std::string read(const std::filesystem::path& file, std::uint64_t most) {
  try {
    return base::read_file(file, most);
  } catch (const base::FileError& error) {
    throw base::FormatError(file.string(), "", std::string("cannot be read: ") + error.code().message());
  }
}

base::json::value parse(const std::filesystem::path& file, std::string_view text, std::uint64_t most) {
  try {
    return base::parse_json(text, {.depth = 32, .bytes = most});
  } catch (const base::JsonError& error) {
    throw base::FormatError(file.string(), "", std::string("is not JSON: ") + error.what(), error.offset);
  }
}

std::string fingerprint_of(std::string_view tokenizer, std::string_view config,
                           std::string_view chat_template) {
  base::Sha256 hash;
  for (const std::string_view part : {kMethod, tokenizer, config, chat_template}) {
    hash.update(std::to_string(part.size()) + "\n");
    hash.update(part);
  }
  return hash.hex();
}

void strip_start(std::string& text, const PieceDecoder& decoder) {
  std::size_t cut = 0;
  while (cut < decoder.strip_start() && cut < text.size() && text[cut] == decoder.strip_content())
    ++cut;
  text.erase(0, cut);
}

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& model_dir) {
  const auto tokenizer_file = model_dir / "tokenizer.json";
  const auto config_file = model_dir / "tokenizer_config.json";
  const auto template_file = model_dir / "chat_template.jinja";
  const std::string tokenizer = read(tokenizer_file, kTokenizerBytes);
  const std::string config = std::filesystem::exists(config_file) ? read(config_file, kConfigBytes) : "{}";
  const std::string chat_template =
      std::filesystem::exists(template_file) ? read(template_file, kConfigBytes) : "";
  const base::json::value tokenizer_json = parse(tokenizer_file, tokenizer, kTokenizerBytes);
  const base::json::value config_json = parse(config_file, config, kConfigBytes);
  const std::string tokenizer_name = tokenizer_file.string();
  const std::string config_name = config_file.string();
  auto model = std::make_shared<TokenizerModel>(JsonNode(tokenizer_name, "", tokenizer_json),
                                                JsonNode(config_name, "", config_json));
  model->fingerprint = fingerprint_of(tokenizer, config, chat_template);
  return Tokenizer(std::move(model));
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const std::vector<TokenSpan> spans = encode_spans(text, options);
  std::vector<std::int32_t> ids(spans.size());
  std::transform(spans.begin(), spans.end(), ids.begin(), [](const TokenSpan& span) { return span.id; });
  return ids;
}

std::vector<TokenSpan> Tokenizer::encode_spans(std::string_view text, const EncodeOptions& options) const {
  if (text.size() > (std::size_t{1} << 31))
    throw std::length_error("a text to be tokenised is longer than 2 GiB");
  return model_->encode(text, options);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, bool skip_special) const {
  std::string text;
  for (const std::int32_t id : ids)
    if (model_->known(id) && !(skip_special && model_->special(id))) text += model_->bytes_of(id);
  strip_start(text, model_->decoder());
  return text;
}

std::int32_t Tokenizer::vocabulary_size() const {
  return model_->size();
}
std::optional<std::int32_t> Tokenizer::bos_id() const {
  return model_->bos.id;
}
std::optional<std::int32_t> Tokenizer::eos_id() const {
  return model_->eos.id;
}
std::optional<std::int32_t> Tokenizer::pad_id() const {
  return model_->pad.id;
}
const std::string& Tokenizer::bos_text() const {
  return model_->bos.text;
}
const std::string& Tokenizer::eos_text() const {
  return model_->eos.text;
}
const std::string& Tokenizer::pad_text() const {
  return model_->pad.text;
}
bool Tokenizer::is_special(std::int32_t id) const {
  return model_->special(id);
}
std::optional<std::int32_t> Tokenizer::id_of(std::string_view piece) const {
  return model_->id_of(piece);
}
std::string_view Tokenizer::piece_of(std::int32_t id) const {
  return model_->piece_of(id);
}
const std::string& Tokenizer::fingerprint() const {
  return model_->fingerprint;
}

std::string StreamDecoder::push(std::int32_t id) {
  if (!model_->known(id) || (skip_special_ && model_->special(id))) return {};
  held_ += model_->bytes_of(id);
  const PieceDecoder& decoder = model_->decoder();
  if (at_start_) {
    // What may still be cut from the start is known once something else, or as much as is ever cut, stands
    // there.
    const bool open = held_.size() < decoder.strip_start() &&
                      held_.find_first_not_of(decoder.strip_content()) == std::string::npos;
    if (open || held_.empty()) return {};
    strip_start(held_, decoder);
    at_start_ = false;
  }
  std::size_t whole = valid_utf8_prefix(held_);
  while (whole < held_.size() && !could_become_utf8(held_, whole)) {
    ++whole;
    whole += valid_utf8_prefix(std::string_view(held_).substr(whole));
  }
  std::string ready = to_valid_utf8(std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return ready;
}

std::string StreamDecoder::finish() {
  if (at_start_) strip_start(held_, model_->decoder());
  at_start_ = false;
  return to_valid_utf8(std::exchange(held_, {}));
}

}  // namespace finetuned::text
