#include <chrono>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

#include "base/files.h"
#include "base/json.h"
#include "scratch_model.h"
#include "trainer/text/tokenizer.h"
#include "trainer/text/utf8.h"

namespace finetuned::text {
namespace {

std::vector<std::int32_t> ids_of(const base::json::value& list) {
  std::vector<std::int32_t> ids;
  for (const auto& id : list.as_array())
    ids.push_back(static_cast<std::int32_t>(id.as_int64()));
  return ids;
}

std::string random_bytes(std::mt19937& random, std::size_t size) {
  std::string bytes;
  for (std::size_t i = 0; i < size; ++i)
    bytes += static_cast<char>(random() & 0xFF);
  return bytes;
}

// Characters of every length, spaces, digits and line ends, close together.
std::string random_text(std::mt19937& random, std::size_t size) {
  constexpr char32_t kSome[] = {' ',  ' ', 'a', 'b',  'T',   '1',    '9',     '\n',  '\t',
                                '\'', 's', '.', 0xE9, 0x416, 0x4E2D, 0x1F680, 0x2581};
  std::string text;
  for (std::size_t i = 0; i < size; ++i)
    append_utf8(text, kSome[random() % std::size(kSome)]);
  return text;
}

#define SHARED_TOKENIZER(variable, name)                                             \
  const auto variable##_path = shared_path(name);                                    \
  if (variable##_path.empty()) GTEST_SKIP() << "../shared/" << name << " is absent"; \
  const Tokenizer variable = Tokenizer::load(variable##_path)

TEST(TokenizerModels, Qwen2GivesThePublicCasesIds) {
  SHARED_TOKENIZER(qwen2, "tokenizers/qwen2");
  const auto cases = base::parse_json(base::read_file(qwen2_path / "cases.json", 1 << 20));
  const auto* list = cases.is_array() ? &cases.as_array() : &cases.as_object().begin()->value().as_array();
  EXPECT_EQ(list->size(), 47u);
  for (const auto& one : *list) {
    const auto& text = one.as_object().at("text").as_string();
    const std::string plain(text.data(), text.size());
    const auto ids = ids_of(one.as_object().at("ids"));
    EXPECT_EQ(qwen2.encode(plain), ids) << plain;
    EXPECT_EQ(qwen2.encode(qwen2.decode(ids)), ids) << plain;
  }
}

TEST(TokenizerModels, Qwen2RoundTripsAnyBytes) {
  SHARED_TOKENIZER(qwen2, "tokenizers/qwen2");
  // Its NFC normalizer changes some texts on purpose, so the bytes go through the same vocabulary without it.
  std::string plain = base::read_file(qwen2_path / "tokenizer.json", 64 << 20);
  const std::size_t type = plain.find("\"NFC\"");
  ASSERT_NE(type, std::string::npos);
  const std::size_t open = plain.rfind('{', type);
  plain.replace(open, plain.find('}', type) + 1 - open, "null");
  ScratchModel model;
  model.write("tokenizer.json", plain);
  const Tokenizer without_nfc = model.load();
  std::mt19937 random(1);
  for (int round = 0; round < 1000; ++round) {
    const std::string bytes = random_bytes(random, random() % 200);
    EXPECT_EQ(without_nfc.decode(without_nfc.encode(bytes), false), bytes);
    const std::string text = random_text(random, random() % 200);
    EXPECT_EQ(qwen2.decode(qwen2.encode(text), false), text);
  }
}

TEST(TokenizerModels, Qwen2StreamsWholeCharacters) {
  SHARED_TOKENIZER(qwen2, "tokenizers/qwen2");
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    const std::string bytes = round % 2 == 0 ? random_bytes(random, 60) : random_text(random, 60);
    const auto ids = qwen2.encode(bytes);
    StreamDecoder decoder(qwen2);
    std::string streamed;
    for (const std::int32_t id : ids) {
      const std::string piece = decoder.push(id);
      EXPECT_EQ(valid_utf8_prefix(piece), piece.size());
      streamed += piece;
    }
    streamed += decoder.finish();
    EXPECT_EQ(streamed, to_valid_utf8(qwen2.decode(ids)));
  }
}

TEST(TokenizerModels, Qwen2SpansCoverTheText) {
  SHARED_TOKENIZER(qwen2, "tokenizers/qwen2");
  std::mt19937 random(3);
  for (int round = 0; round < 100; ++round) {
    const std::string text = random_text(random, 80) + "<|im_start|>" + random_text(random, 20);
    std::uint32_t at = 0;
    for (const TokenSpan& span : qwen2.encode_spans(text)) {
      EXPECT_EQ(span.begin, at);
      at = span.end;
    }
    EXPECT_EQ(at, text.size());
  }
}

TEST(TokenizerModels, Qwen2TakesHostileTextInBoundedTime) {
  SHARED_TOKENIZER(qwen2, "tokenizers/qwen2");
  const auto start = std::chrono::steady_clock::now();
  std::string marks = "a";
  for (int i = 0; i < 200'000; ++i)
    append_utf8(marks, i % 2 == 0 ? 0x301 : 0x323);
  EXPECT_FALSE(qwen2.encode(marks).empty());
  for (const char* piece :
       {"a", " ", "\n", " \n", "<|", "'", "<|im_start|>", "\xF0\x9F\x9A\x80", "\xFF", "ab1 "}) {
    std::string text;
    while (text.size() < 2'000'000)
      text += piece;
    EXPECT_EQ(qwen2.decode(qwen2.encode(text), false), text);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(TokenizerModels, Stories260kRoundTripsText) {
  SHARED_TOKENIZER(stories, "models/stories260k");
  EXPECT_EQ(stories.vocabulary_size(), 512);
  EXPECT_EQ(stories.bos_id(), 1);
  EXPECT_EQ(stories.eos_id(), 2);
  const auto ids = stories.encode("Once upon a time, there was a little girl named Lily.");
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(stories.decode(ids), "Once upon a time, there was a little girl named Lily.");
  // llama2.c's own ids of its commonest prompt with this vocabulary.
  EXPECT_THAT(stories.encode("Once upon a time"), ::testing::ElementsAre(1, 403, 407, 261, 378));
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    std::string text = random_text(random, random() % 100);
    for (std::size_t at = text.find("\xE2\x96\x81"); at != std::string::npos; at = text.find("\xE2\x96\x81"))
      text.replace(at, 3, "_");  // U+2581 is how this vocabulary spells the space
    EXPECT_EQ(stories.decode(stories.encode(text)), text);
  }
}

TEST(TokenizerModels, FingerprintCoversEveryFile) {
  ScratchModel model;
  model.write("tokenizer.json", tokenizer_json({"a", "b"}, {}, ""));
  const std::string first = model.load().fingerprint();
  EXPECT_EQ(first.size(), 64u);
  EXPECT_EQ(model.load().fingerprint(), first);
  model.write("tokenizer_config.json", R"({"chat_template":"{{ bos_token }}"})");
  const std::string second = model.load().fingerprint();
  EXPECT_NE(second, first);
  model.write("chat_template.jinja", "x");
  EXPECT_NE(model.load().fingerprint(), second);
}

}  // namespace
}  // namespace finetuned::text
