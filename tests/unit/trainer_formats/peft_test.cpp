#include "trainer/formats/peft.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "tests/unit/trainer_formats/temporary_directory.h"

namespace finetuned::formats {
namespace {

using base::FormatError;
using testing::ElementsAre;
using testing::HasSubstr;
namespace json = base::json;

ModelConfig small_base() {
  ModelConfig base;
  base.vocab_size = 32;
  base.hidden_size = 16;
  base.intermediate_size = 24;
  base.layers = 2;
  base.heads = 4;
  base.kv_heads = 2;
  base.head_dim = 4;
  return base;
}

Adapter sample() {
  AdapterConfig config;
  config.rank = 3;
  config.alpha = 6;
  config.dropout = 0.05;
  config.target_modules = {"down_proj", "k_proj"};
  config.base_model_name_or_path = "some/base";
  Adapter adapter = make_adapter(config, small_base());
  float next = 0.5f;
  for (LoraPair& pair : adapter.pairs) {
    for (float& value : pair.a) value = next += 0.25f;
    for (float& value : pair.b) value = -(next += 0.25f);
  }
  return adapter;
}

class Peft : public testing::Test {
 protected:
  std::string fault_of(const std::string& changes) {
    write_adapter(directory_.path(), sample());
    const auto file = directory_ / "adapter_config.json";
    json::object config = json::parse(base::read_file(file, 1 << 20)).as_object();
    const json::value parsed_changes = json::parse(changes);
    for (const auto& change : parsed_changes.get_object()) config[change.key()] = change.value();
    base::write_durably(file, json::serialize(config));
    try {
      read_adapter(directory_.path(), small_base());
    } catch (const FormatError& error) {
      return error.what();
    }
    return "";
  }

  TemporaryDirectory directory_;
};

TEST_F(Peft, RoundTrip) {
  const Adapter written = sample();
  write_adapter(directory_.path(), written);
  const Adapter read = read_adapter(directory_.path(), small_base());
  EXPECT_EQ(read.config.rank, 3);
  EXPECT_EQ(read.config.alpha, 6);
  EXPECT_EQ(read.config.dropout, 0.05);
  EXPECT_EQ(read.config.base_model_name_or_path, "some/base");
  EXPECT_THAT(read.config.target_modules, ElementsAre("k_proj", "down_proj"));
  ASSERT_EQ(read.pairs.size(), 4u);
  for (std::size_t i = 0; i < read.pairs.size(); ++i) {
    EXPECT_EQ(read.pairs[i].module, written.pairs[i].module);
    EXPECT_EQ(read.pairs[i].a, written.pairs[i].a);
    EXPECT_EQ(read.pairs[i].b, written.pairs[i].b);
  }
}

TEST_F(Peft, WritesPeftsOwnNames) {
  write_adapter(directory_.path(), sample());
  const auto file = SafetensorsFile::open(directory_ / "adapter_model.safetensors");
  const TensorView* a = file.find("base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->shape, (std::vector<std::int64_t>{3, 16}));
  const TensorView* b = file.find("base_model.model.model.layers.0.mlp.down_proj.lora_B.weight");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->shape, (std::vector<std::int64_t>{16, 3}));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const json::object config = json::parse(base::read_file(directory_ / "adapter_config.json", 1 << 20)).as_object();
  EXPECT_EQ(config.at("peft_type"), "LORA");
  EXPECT_EQ(config.at("task_type"), "CAUSAL_LM");
  EXPECT_EQ(config.at("lora_alpha"), 6);
  EXPECT_EQ(config.at("inference_mode"), true);
  EXPECT_EQ(config.at("bias"), "none");
  EXPECT_TRUE(config.at("rank_pattern").as_object().empty());
}

TEST_F(Peft, ScaleFollowsRslora) {
  AdapterConfig config;
  config.rank = 16;
  config.alpha = 32;
  EXPECT_EQ(config.scale(), 2);
  config.use_rslora = true;
  EXPECT_EQ(config.scale(), 8);
}

TEST_F(Peft, RefusesWhatItCannotCarryOut) {
  EXPECT_EQ(fault_of("{}"), "");
  EXPECT_EQ(fault_of(R"({"eva_config":null,"exclude_modules":null,"use_dora":false})"), "");
  EXPECT_THAT(fault_of(R"({"peft_type":"IA3"})"), HasSubstr("not LORA"));
  EXPECT_THAT(fault_of(R"({"use_dora":true})"), HasSubstr("use_dora"));
  EXPECT_THAT(fault_of(R"({"bias":"all"})"), HasSubstr("bias"));
  EXPECT_THAT(fault_of(R"({"rank_pattern":{"q_proj":4}})"), HasSubstr("same rank"));
  EXPECT_THAT(fault_of(R"({"modules_to_save":["lm_head"]})"), HasSubstr("modules_to_save"));
  EXPECT_THAT(fault_of(R"({"layers_to_transform":[0]})"), HasSubstr("layers_to_transform"));
  EXPECT_THAT(fault_of(R"({"target_modules":["lm_head"]})"), HasSubstr("supported are"));
  EXPECT_THAT(fault_of(R"({"target_modules":".*q_proj"})"), HasSubstr("target_modules"));
  EXPECT_THAT(fault_of(R"({"target_modules":["k_proj"]})"), HasSubstr("has no place"));
  EXPECT_THAT(fault_of(R"({"target_modules":["k_proj","q_proj"]})"), HasSubstr("is missing"));
  EXPECT_THAT(fault_of(R"({"r":4})"), HasSubstr("shape"));
  EXPECT_THAT(fault_of(R"({"r":0})"), HasSubstr("r: "));
}

TEST_F(Peft, RefusesAnotherBasesAdapter) {
  write_adapter(directory_.path(), sample());
  ModelConfig wider = small_base();
  wider.hidden_size = 32;
  EXPECT_THROW(read_adapter(directory_.path(), wider), FormatError);
  ModelConfig deeper = small_base();
  deeper.layers = 3;
  EXPECT_THROW(read_adapter(directory_.path(), deeper), FormatError);
  ModelConfig shallower = small_base();
  shallower.layers = 1;
  EXPECT_THROW(read_adapter(directory_.path(), shallower), FormatError);
}

TEST_F(Peft, MissingFilesAreNamed) {
  EXPECT_THROW(read_adapter(directory_.path(), small_base()), FormatError);
  write_adapter(directory_.path(), sample());
  std::filesystem::remove(directory_ / "adapter_model.safetensors");
  EXPECT_THROW(read_adapter(directory_.path(), small_base()), FormatError);
}

}  // namespace
}  // namespace finetuned::formats
