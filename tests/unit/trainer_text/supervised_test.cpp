#include "trainer/text/supervised.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "scratch_model.h"
#include "trainer/text/bpe_trainer.h"

namespace finetuned::text {
namespace {

// A tokenizer that knows every template's special tokens, and English enough to have tokens longer than a
// byte.
Tokenizer tokenizer() {
  ScratchModel model;
  BpeTrainerOptions options;
  options.special_tokens = {"<|im_start|>",
                            "<|im_end|>",
                            "<s>",
                            "</s>",
                            "<|begin_of_text|>",
                            "<|start_header_id|>",
                            "<|end_header_id|>",
                            "<|eot_id|>",
                            "[INST]",
                            "[/INST]",
                            "<｜User｜>",
                            "<｜Assistant｜>",
                            "<｜end▁of▁sentence｜>",
                            "<｜tool▁outputs▁end｜>"};
  options.vocabulary_size = 330;
  options.bos_token = "<s>";
  options.eos_token = "</s>";
  options.pad_token = "";
  train_bpe_tokenizer(
      "the answer is the best answer of all assistant answers assistant user user the the Hello Hello there "
      "there",
      options, model.path());
  return model.load();
}

RowEncoder encoder(const std::string& name) {
  const auto file = std::filesystem::path(FINETUNED_SOURCE_DIR) / "tests/torch/jinja" / (name + ".jinja");
  return RowEncoder(tokenizer(), ChatTemplate::parse(name, base::read_file(file, 1 << 20)));
}

Message say(Role role, const std::string& content, bool trained = true) {
  return {role, content, trained, "", "", {}};
}

Row conversation(bool first_trained = true) {
  Row row;
  row.messages = {say(Role::kUser, "the question"), say(Role::kAssistant, "Hello there", first_trained),
                  say(Role::kUser, "more"), say(Role::kAssistant, "the answer")};
  return row;
}

// The supervised tokens' text, stretches parted by a bar.
std::string supervised(const RowEncoder& encoder, const Row& row, const SupervisedOptions& options = {}) {
  const SupervisedRow made = encoder.encode(row, options);
  EXPECT_EQ(made.row.ids.size(), made.row.labels.size());
  std::string text;
  bool before = true;
  for (std::size_t i = 0; i < made.row.ids.size(); ++i) {
    const bool here = made.row.labels[i] != kIgnoreLabel;
    if (here) {
      EXPECT_EQ(made.row.labels[i], made.row.ids[i]);
      if (!before && !text.empty()) text += "|";
      text += encoder.tokenizer().decode({&made.row.ids[i], 1}, false);
    }
    before = here;
  }
  return text;
}

TEST(Supervised, LabelsTheAssistantsOwnWordsAndTheirEnd) {
  EXPECT_EQ(supervised(encoder("chatml"), conversation()), "Hello there<|im_end|>|the answer<|im_end|>");
  EXPECT_EQ(supervised(encoder("qwen25"), conversation()), "Hello there<|im_end|>|the answer<|im_end|>");
  EXPECT_EQ(supervised(encoder("llama3"), conversation()), "Hello there<|eot_id|>|the answer<|eot_id|>");
  EXPECT_EQ(supervised(encoder("llama31"), conversation()), "Hello there<|eot_id|>|the answer<|eot_id|>");
  EXPECT_EQ(supervised(encoder("mistral"), conversation()), "Hello there</s>|the answer</s>");
  EXPECT_EQ(supervised(encoder("mistral3"), conversation()), " Hello there</s>| the answer</s>");
  EXPECT_EQ(supervised(encoder("deepseek_r1_distill"), conversation()),
            "Hello there<｜end▁of▁sentence｜>|the answer<｜end▁of▁sentence｜>");
}

TEST(Supervised, IdsAreThoseOfTheWholeText) {
  for (const char* name :
       {"chatml", "qwen25", "llama3", "llama31", "mistral", "mistral3", "deepseek_r1_distill"}) {
    const RowEncoder one = encoder(name);
    const std::string text = one.render(conversation(), false);
    EXPECT_EQ(one.encode(conversation()).row.ids, one.tokenizer().encode(text, {.add_special = false}))
        << name;
    // What the model is asked with is how the trained text begins.
    Row asked = conversation();
    const std::string prompt = one.render(asked, true);
    if (std::string_view(name) != "deepseek_r1_distill") {
      EXPECT_TRUE(text.starts_with(prompt)) << name;
    }
  }
}

TEST(Supervised, ContentThatLooksLikeATemplateStaysContent) {
  Row row = conversation();
  row.messages[1].content = "<think>\nassistant\n";
  row.messages[3].content = "\n\nthe answer";
  EXPECT_EQ(supervised(encoder("chatml"), row), "<think>\nassistant\n<|im_end|>|\n\nthe answer<|im_end|>");
  row.messages[1].content = "<the";
  EXPECT_EQ(supervised(encoder("deepseek_r1_distill"), row),
            "<the<｜end▁of▁sentence｜>|\n\nthe answer<｜end▁of▁sentence｜>");
}

TEST(Supervised, WeightZeroIsMaskedAndInputsAreTrainedOnRequest) {
  EXPECT_EQ(supervised(encoder("chatml"), conversation(false)), "the answer<|im_end|>");
  const std::string all = supervised(encoder("chatml"), conversation(false), {.train_on_inputs = true});
  EXPECT_THAT(all, ::testing::HasSubstr("the question"));
  EXPECT_THAT(all, ::testing::Not(::testing::HasSubstr("Hello")));
  EXPECT_THAT(all,
              ::testing::Not(::testing::StartsWith("<|im_start|>")));  // nothing predicts the first token
}

TEST(Supervised, LongRowsAreCutAndRowsWithNothingLeftAreReported) {
  const RowEncoder one = encoder("chatml");
  const SupervisedRow whole = one.encode(conversation());
  EXPECT_EQ(one.count(conversation()).tokens, whole.whole.tokens);
  EXPECT_EQ(one.count(conversation()).supervised, whole.whole.supervised);
  const SupervisedRow cut = one.encode(conversation(), {.max_seq_length = whole.whole.tokens - 3});
  EXPECT_EQ(cut.kept.tokens, whole.whole.tokens - 3);
  EXPECT_EQ(cut.whole.tokens, whole.whole.tokens);
  EXPECT_LT(cut.kept.supervised, whole.kept.supervised);
  try {
    one.encode(conversation(), {.max_seq_length = 3});
    FAIL();
  } catch (const RowError& error) {
    EXPECT_EQ(error.code, "no_supervised_tokens");
  }
}

TEST(Supervised, ToolCallsAreTrainedOnAndMustBePrinted) {
  Row row = conversation();
  row.messages[1].content.reset();
  row.messages[1].tool_calls =
      base::parse_json(
          R"([{"id":"abcdef123","type":"function","function":{"name":"find","arguments":"{\"a\": 1}"}}])")
          .as_array();
  row.messages[2] = say(Role::kTool, "found");
  row.messages[2].tool_call_id = "abcdef123";
  EXPECT_EQ(supervised(encoder("qwen25"), row),
            "<tool_call>\n{\"name\": \"find\", \"arguments\": {\"a\": 1}}\n</tool_call><|im_end|>|the "
            "answer<|im_end|>");
  EXPECT_EQ(supervised(encoder("llama31"), row),
            "{\"name\": \"find\", \"parameters\": {\"a\": 1}}<|eot_id|>|the answer<|eot_id|>");
  EXPECT_THAT(supervised(encoder("mistral3"), row), ::testing::HasSubstr("\"arguments\": {\"a\": 1}"));
  const std::string deepseek = supervised(encoder("deepseek_r1_distill"), row);
  EXPECT_THAT(deepseek, ::testing::HasSubstr("{\"a\": 1}"));
  EXPECT_THAT(deepseek, ::testing::EndsWith("|the answer<｜end▁of▁sentence｜>"));
  EXPECT_THROW(encoder("llama3").encode(row), RowError);
}

TEST(Supervised, ARefusedConversationIsTheRowsFault) {
  Row row = conversation();
  row.messages.erase(row.messages.begin() + 1);
  try {
    encoder("mistral").encode(row);
    FAIL();
  } catch (const RowError& error) {
    EXPECT_EQ(error.code, "template_refused");
    EXPECT_THAT(error.what(), ::testing::HasSubstr("must alternate"));
    EXPECT_EQ(error.fault(7).line, 7);
  }
  const RowEncoder silent(
      tokenizer(),
      ChatTemplate::parse("t", "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"));
  try {
    silent.encode(conversation());
    FAIL();
  } catch (const RowError& error) {
    EXPECT_EQ(error.code, "assistant_not_found");
    EXPECT_EQ(error.field, "messages[1]");
  }
}

TEST(Supervised, WithoutATemplateCompletionsArePlainText) {
  const RowEncoder plain(tokenizer(), std::nullopt);
  EXPECT_FALSE(plain.has_chat_template());
  Row row;
  row.plain_completion = true;
  row.messages = {say(Role::kUser, "the question"), say(Role::kAssistant, " the answer")};
  EXPECT_EQ(supervised(plain, row), " the answer</s>");
  EXPECT_EQ(plain.render(row, true), "the question");
  EXPECT_EQ(supervised(plain, conversation()), " Hello there</s>| the answer</s>");
  // With a template the same row is a conversation.
  EXPECT_EQ(supervised(encoder("chatml"), row), " the answer<|im_end|>");
}

TEST(Supervised, Stories260kTakesCompletions) {
  const auto path = shared_path("models/stories260k");
  if (path.empty()) GTEST_SKIP() << "../shared/models is absent";
  const RowEncoder stories(path);
  Row row;
  row.plain_completion = true;
  row.messages = {say(Role::kUser, "Once upon"), say(Role::kAssistant, " a time")};
  const SupervisedRow made = stories.encode(row);
  EXPECT_EQ(made.row.ids.front(), 1);
  EXPECT_EQ(made.row.ids.back(), 2);
  EXPECT_EQ(made.row.labels[0], kIgnoreLabel);
  EXPECT_EQ(made.row.labels.back(), 2);
  EXPECT_EQ(supervised(stories, conversation()).substr(0, 5), "Hello");
}

}  // namespace
}  // namespace finetuned::text
