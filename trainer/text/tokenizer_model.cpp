#include "trainer/text/tokenizer_model.h"

#include <algorithm>

#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

PreTokenizer pre_tokenizer_of(const JsonNode& tokenizer) {
  const auto node = tokenizer.find("pre_tokenizer");
  return node ? PreTokenizer(*node) : PreTokenizer();
}

class BpeSink final : public WordSink {
 public:
  BpeSink(const BpeModel& bpe, std::vector<TokenSpan>& out) : bpe_(bpe), out_(out) {}
  void word(const Slice& slice) override { bpe_.encode(slice, out_); }

 private:
  const BpeModel& bpe_;
  std::vector<TokenSpan>& out_;
};

}  // namespace

TokenizerModel::TokenizerModel(const JsonNode& tokenizer, const JsonNode& config)
    : pre_tokenizer_(pre_tokenizer_of(tokenizer)), bpe_(tokenizer.at("model"), pre_tokenizer_.byte_level()) {
  if (const auto node = tokenizer.find("added_tokens")) added_ = read_added_tokens(*node);
  if (const auto node = tokenizer.find("normalizer")) normalizer_ = Normalizer(*node);
  if (const auto node = tokenizer.find("decoder")) decoder_ = PieceDecoder(*node);
  for (const char* unsupported : {"truncation", "padding"})
    if (const auto node = tokenizer.find(unsupported)) node->refuse("is not supported; set it to null");
  index_added_tokens();
  fill_decoded();
  if (const auto node = tokenizer.find("post_processor")) read_post_processor(*node, 0);
  read_config(config);
}

void TokenizerModel::index_added_tokens() {
  for (const AddedToken& token : added_) {
    added_ids_.emplace(token.content, token.id);
    if (token.normalized)
      after_normalizer_.add(token, normalizer_.run(AlignedText(token.content, 0)).text());
    else
      before_normalizer_.add(token, token.content);
  }
}

void TokenizerModel::fill_decoded() {
  std::size_t size = bpe_.pieces().size();
  for (const AddedToken& token : added_)
    size = std::max(size, static_cast<std::size_t>(token.id) + 1);
  decoded_.resize(size);
  special_.resize(size);
  for (std::size_t i = 0; i < bpe_.pieces().size(); ++i)
    decoded_[i] = decoder_.bytes_of(bpe_.pieces()[i]);
  for (const AddedToken& token : added_) {
    decoded_[static_cast<std::size_t>(token.id)] = token.content;
    special_[static_cast<std::size_t>(token.id)] = token.special;
  }
}

void TokenizerModel::read_post_processor(const JsonNode& node, int depth) {
  const std::string type = node.at("type").string();
  if (type == "Sequence") {
    if (depth > 4) node.refuse("sequences are nested more than 4 deep");
    const JsonNode list = node.at("processors");
    for (std::size_t i = 0; i < list.size(); ++i)
      read_post_processor(list.item(i), depth + 1);
  } else if (type == "TemplateProcessing") {
    read_template(node);
  } else if (type != "ByteLevel") {  // ByteLevel only trims offsets
    node.refuse("the post-processor '" + type +
                "' is not supported; known are TemplateProcessing, ByteLevel and Sequence");
  }
}

void TokenizerModel::read_template(const JsonNode& node) {
  const JsonNode single = node.at("single");
  bool behind = false;
  for (std::size_t i = 0; i < single.size(); ++i) {
    const JsonNode part = single.item(i);
    if (part.find("Sequence")) {
      if (behind) part.refuse("the sequence stands twice");
      behind = true;
      continue;
    }
    const std::string name = part.at("SpecialToken").at("id").string();
    const JsonNode ids = node.at("special_tokens").at(name).at("ids");
    for (std::size_t j = 0; j < ids.size(); ++j) {
      const std::int64_t id = ids.item(j).integer();
      if (id < 0 || id >= size()) ids.item(j).refuse("is no id of the vocabulary");
      (behind ? suffix_ : prefix_).push_back(static_cast<std::int32_t>(id));
    }
  }
  if (!behind) single.refuse("has no Sequence");
}

NamedToken TokenizerModel::named(const JsonNode& config, const char* key) const {
  const auto node = config.find(key);
  if (!node) return {};
  NamedToken token;
  token.text = node->is_object() ? node->at("content").string() : node->string();
  token.id = id_of(token.text);
  if (!token.id) node->refuse("'" + token.text + "' is not in the vocabulary");
  return token;
}

void TokenizerModel::read_config(const JsonNode& config) {
  bos = named(config, "bos_token");
  eos = named(config, "eos_token");
  pad = named(config, "pad_token");
  // Said outright, the configuration decides over the post-processor, as transformers rebuilds it from these.
  if (const auto add = config.find("add_bos_token")) {
    prefix_.clear();
    if (add->boolean() && !bos.id) add->refuse("is true, but there is no bos_token");
    if (add->boolean()) prefix_.push_back(*bos.id);
  }
  if (const auto add = config.find("add_eos_token")) {
    suffix_.clear();
    if (add->boolean() && !eos.id) add->refuse("is true, but there is no eos_token");
    if (add->boolean()) suffix_.push_back(*eos.id);
  }
}

std::optional<std::int32_t> TokenizerModel::id_of(std::string_view piece) const {
  const auto added = added_ids_.find(piece);
  if (added != added_ids_.end()) return added->second;
  return bpe_.id_of(piece);
}

std::string_view TokenizerModel::piece_of(std::int32_t id) const {
  if (!known(id)) return {};
  for (const AddedToken& token : added_)
    if (token.id == id) return token.content;
  const auto place = static_cast<std::size_t>(id);
  return place < bpe_.pieces().size() ? std::string_view(bpe_.pieces()[place]) : std::string_view();
}

std::vector<TokenSpan> TokenizerModel::encode(std::string_view text, const EncodeOptions& options) const {
  std::vector<TokenSpan> out;
  out.reserve(text.size() / 3 + prefix_.size() + suffix_.size());
  if (options.add_special)
    for (const std::int32_t id : prefix_)
      out.push_back({id, 0, 0});
  std::size_t done = 0;
  for (const auto& found : before_normalizer_.find_all(text, options.parse_special)) {
    encode_raw(text.substr(done, found.begin - done), static_cast<std::uint32_t>(done), options, out);
    out.push_back(
        {found.token->id, static_cast<std::uint32_t>(found.begin), static_cast<std::uint32_t>(found.end)});
    done = found.end;
  }
  encode_raw(text.substr(done), static_cast<std::uint32_t>(done), options, out);
  const auto end = static_cast<std::uint32_t>(text.size());
  if (options.add_special)
    for (const std::int32_t id : suffix_)
      out.push_back({id, end, end});
  return out;
}

void TokenizerModel::encode_raw(std::string_view text, std::uint32_t base, const EncodeOptions& options,
                                std::vector<TokenSpan>& out) const {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t valid = valid_utf8_prefix(text.substr(at));
    const auto place = base + static_cast<std::uint32_t>(at);
    if (valid > 0) encode_valid(AlignedText(text.substr(at, valid), place), options, out);
    at += valid;
    if (at < text.size()) {
      bpe_.encode_byte(static_cast<std::uint8_t>(text[at]), base + static_cast<std::uint32_t>(at), out);
      ++at;
    }
  }
}

void TokenizerModel::encode_valid(AlignedText text, const EncodeOptions& options,
                                  std::vector<TokenSpan>& out) const {
  const AlignedText normal = normalizer_.run(std::move(text));
  BpeSink sink(bpe_, out);
  if (after_normalizer_.empty()) return pre_tokenizer_.run(normal, sink);
  const std::string_view whole = normal.text();
  std::size_t done = 0;
  const auto piece = [&](std::size_t end) {
    if (end == done) return;
    AlignedText part = AlignedText::empty(normal.begin_of(done), end - done);
    part.append(normal, done, end);
    pre_tokenizer_.run(part, sink);
  };
  for (const auto& found : after_normalizer_.find_all(whole, options.parse_special)) {
    piece(found.begin);
    out.push_back({found.token->id, normal.begin_of(found.begin), normal.end_of(found.end - 1)});
    done = found.end;
  }
  if (done == 0) return pre_tokenizer_.run(normal, sink);
  piece(whole.size());
}

}  // namespace finetuned::text
