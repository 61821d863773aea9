#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "scratch_model.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr const char* kByteLevelParts =
    R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"use_regex":true},
       "decoder":{"type":"ByteLevel"})";

std::string split_parts(const std::string& patterns) {
  return R"("pre_tokenizer":{"type":"Sequence","pretokenizers":[)" + patterns +
         R"(,{"type":"ByteLevel","add_prefix_space":false,"use_regex":false}]},"decoder":{"type":"ByteLevel"})";
}

std::string split(const std::string& regex) {
  return R"({"type":"Split","pattern":{"Regex":")" + regex + R"("},"behavior":"Isolated","invert":false})";
}

constexpr const char* kLlama2Parts =
    R"("normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},
         {"type":"Replace","pattern":{"String":" "},"content":"▁"}]},
       "added_tokens":[{"id":1,"content":"<s>","special":true,"normalized":false},
         {"id":2,"content":"</s>","special":true,"normalized":false}],
       "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
         {"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]}}},
       "decoder":{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},
         {"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]})";

constexpr const char* kLlama2Model = R"("byte_fallback":true,"fuse_unk":true,"unk_token":"<unk>")";

TEST(TokenizerKinds, Gpt2MergesByRankWithinItsWords) {
  ScratchModel model;
  model.write("tokenizer.json", tokenizer_json(byte_pieces({"he", "ll", "hell", "Ġw", "lo"}),
                                               {"h e", "l l", "he ll", "Ġ w", "l o"}, kByteLevelParts));
  const Tokenizer tokenizer = model.load();
  EXPECT_THAT(pieces_of(tokenizer, "hello world's"),
              ElementsAre("hell", "o", "Ġw", "o", "r", "l", "d", "'", "s"));
  EXPECT_THAT(pieces_of(tokenizer, "a\n\n b"), ElementsAre("a", "Ċ", "Ċ", "Ġ", "b"));
  EXPECT_TRUE(tokenizer.encode("").empty());
}

TEST(TokenizerKinds, Gpt2PrefixSpaceIsPutInFront) {
  ScratchModel model;
  model.write("tokenizer.json",
              tokenizer_json(byte_pieces({"Ġa"}), {"Ġ a"},
                             R"("pre_tokenizer":{"type":"ByteLevel","add_prefix_space":true})"));
  EXPECT_THAT(pieces_of(model.load(), "a a"), ElementsAre("Ġa", "Ġa"));
}

TEST(TokenizerKinds, Llama3SplitsDigitsByThreesAndIgnoresMerges) {
  const std::string regex =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";
  ScratchModel model;
  const auto parts = split_parts(split(regex)) +
                     R"(,"post_processor":{"type":"Sequence","processors":[{"type":"ByteLevel"},
        {"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<|begin|>","type_id":0}},
          {"Sequence":{"id":"A","type_id":0}}],"special_tokens":{"<|begin|>":{"id":"<|begin|>","ids":[261],"tokens":[]}}}]},
       "added_tokens":[{"id":261,"content":"<|begin|>","special":true,"normalized":false}])";
  model.write("tokenizer.json", tokenizer_json(byte_pieces({"12", "123", "45", "Ġwhole", "x"}),
                                               {"1 2", "12 3", "4 5"}, parts, R"("ignore_merges":true)"));
  model.write("tokenizer_config.json", R"({"bos_token":"<|begin|>"})");
  const Tokenizer tokenizer = model.load();
  EXPECT_THAT(pieces_of(tokenizer, "12345 whole"), ElementsAre("<|begin|>", "123", "45", "Ġwhole"));
  EXPECT_THAT(pieces_of(tokenizer, "12", {.add_special = false}), ElementsAre("12"));
  EXPECT_EQ(tokenizer.bos_id(), 261);
  EXPECT_EQ(tokenizer.vocabulary_size(), 262);
}

TEST(TokenizerKinds, DeepSeekSplitsInSeveralSteps) {
  ScratchModel model;
  const auto parts =
      split_parts(split(R"(\\p{N}{1,3})") + "," + split(R"([一-龥぀-ゟ゠-ヿ]+)") + "," +
                  split(R"([^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s+)"));
  model.write("tokenizer.json",
              tokenizer_json(byte_pieces({"Ġa", "a1", "!!"}), {"Ġ a", "a 1", "! !"}, parts));
  EXPECT_THAT(pieces_of(model.load(), " a1!!"), ElementsAre("Ġa", "1", "!!"));
}

TEST(TokenizerKinds, Llama2FallsBackToBytesAndFusesUnknowns) {
  ScratchModel model;
  model.write("tokenizer.json", tokenizer_json(sentencepiece_pieces({"▁", "h", "i", "hi", "▁hi"}),
                                               {"h i", "▁ hi"}, kLlama2Parts, kLlama2Model));
  model.write("tokenizer_config.json",
              R"({"bos_token":"<s>","eos_token":{"content":"</s>"},"add_bos_token":true})");
  const Tokenizer tokenizer = model.load();
  EXPECT_THAT(pieces_of(tokenizer, "hi é hi"), ElementsAre("<s>", "▁hi", "▁", "<0xC3>", "<0xA9>", "▁hi"));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("hi é  hi")), "hi é  hi");
  EXPECT_THAT(pieces_of(tokenizer, "hi</s>hi", {.add_special = false}), ElementsAre("▁hi", "</s>", "▁hi"));
  EXPECT_THAT(pieces_of(tokenizer, "hi</s>", {.add_special = false, .parse_special = false})[0], "▁hi");

  ScratchModel without_bytes;
  without_bytes.write(
      "tokenizer.json",
      tokenizer_json({"<unk>", "▁", "h"}, {},
                     R"("normalizer":{"type":"Replace","pattern":{"String":" "},"content":"▁"})",
                     R"("fuse_unk":true,"unk_token":"<unk>")"));
  EXPECT_THAT(pieces_of(without_bytes.load(), "hxyz h"), ElementsAre("h", "<unk>", "▁", "h"));
}

TEST(TokenizerKinds, MetaspaceReplacesSpacesAndPrependsOnce) {
  ScratchModel model;
  const std::string parts =
      R"("pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first","split":true},
         "added_tokens":[{"id":1,"content":"<s>","special":true,"normalized":false}],
         "decoder":{"type":"Metaspace","replacement":"▁","prepend_scheme":"first"})";
  model.write("tokenizer.json",
              tokenizer_json(sentencepiece_pieces({"▁", "a", "▁a"}), {"▁ a"}, parts, kLlama2Model));
  const Tokenizer tokenizer = model.load();
  EXPECT_THAT(pieces_of(tokenizer, "a a<s>a"), ElementsAre("▁a", "▁a", "<s>", "a"));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("a a")), "a a");
}

TEST(TokenizerKinds, AddedTokensStripAndMatchAfterTheNormalizer) {
  ScratchModel model;
  const std::string parts = std::string(kByteLevelParts) +
                            R"(,"normalizer":{"type":"NFC"},"added_tokens":[
      {"id":256,"content":"<mask>","lstrip":true,"rstrip":true,"special":true,"normalized":false},
      {"id":257,"content":"café","special":false,"normalized":true},
      {"id":258,"content":"w","single_word":true,"special":false,"normalized":false},
      {"id":259,"content":"<m","special":true,"normalized":false}])";
  model.write("tokenizer.json", tokenizer_json(byte_pieces({}), {}, parts));
  const Tokenizer tokenizer = model.load();
  EXPECT_THAT(pieces_of(tokenizer, "a  <mask> b"), ElementsAre("a", "<mask>", "b"));
  EXPECT_THAT(pieces_of(tokenizer, "cafe\xCC\x81!"), ElementsAre("café", "!"));
  EXPECT_THAT(pieces_of(tokenizer, "w ow<mw"), ElementsAre("w", "Ġ", "o", "w", "<m", "w"));
}

TEST(TokenizerKinds, MergesAsPairsEqualMergesAsText) {
  ScratchModel model;
  model.write("tokenizer.json", R"({"pre_tokenizer":null,"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},
                                   "merges":[["a","b"]]}})");
  EXPECT_THAT(model.load().encode("abab"), ElementsAre(2, 2));
}

TEST(TokenizerKinds, SpansSayWhichBytesATokenStandsFor) {
  ScratchModel model;
  model.write("tokenizer.json", tokenizer_json(sentencepiece_pieces({"▁", "h", "i", "hi", "▁hi"}),
                                               {"h i", "▁ hi"}, kLlama2Parts, kLlama2Model));
  const auto spans = model.load().encode_spans("hi é");
  ASSERT_EQ(spans.size(), 5u);
  EXPECT_EQ(spans[0].end, 0u);
  EXPECT_EQ(spans[1].begin, 0u);
  EXPECT_EQ(spans[1].end, 2u);
  EXPECT_EQ(spans[2].begin, 2u);
  EXPECT_EQ(spans[2].end, 3u);
  EXPECT_EQ(spans[4].begin, 4u);
  EXPECT_EQ(spans[4].end, 5u);
}

TEST(TokenizerKinds, WhatIsNotSupportedIsNamed) {
  const auto complaint = [](const std::string& text, const std::string& config = "{}") {
    ScratchModel model;
    model.write("tokenizer.json", text);
    model.write("tokenizer_config.json", config);
    try {
      model.load();
    } catch (const base::FormatError& error) {
      return std::string(error.what());
    }
    return std::string("no complaint");
  };
  const auto with = [](const std::string& parts) { return tokenizer_json(byte_pieces({}), {}, parts); };
  EXPECT_THAT(complaint("{"), HasSubstr("tokenizer.json"));
  EXPECT_THAT(complaint(R"({"model":{"type":"Unigram"}})"), HasSubstr("model.type"));
  EXPECT_THAT(complaint(with(R"("normalizer":{"type":"Lowercase"})")), HasSubstr("normalizer"));
  EXPECT_THAT(complaint(with(R"("pre_tokenizer":{"type":"BertPreTokenizer"})")),
              HasSubstr("BertPreTokenizer"));
  EXPECT_THAT(complaint(with(split_parts(split("(")))), HasSubstr("pretokenizers[0].pattern.Regex"));
  EXPECT_THAT(complaint(with(R"("decoder":{"type":"WordPiece"})")), HasSubstr("decoder"));
  EXPECT_THAT(complaint(with(R"("post_processor":{"type":"BertProcessing"})")), HasSubstr("post_processor"));
  EXPECT_THAT(complaint(with(""), R"({"eos_token":"</s>"})"), HasSubstr("eos_token"));
  EXPECT_THAT(complaint(tokenizer_json({"a"}, {"a b"}, "")), HasSubstr("model.merges[0]"));
  EXPECT_THAT(complaint(tokenizer_json({"a"}, {"ab"}, "")), HasSubstr("model.merges[0]"));
  ScratchModel empty;
  EXPECT_THROW(empty.load(), base::FormatError);
}

}  // namespace
}  // namespace finetuned::text
