#include "trainer/formats/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::formats {
namespace {

using base::FormatError;
using testing::ElementsAre;
using testing::HasSubstr;
namespace json = base::json;

json::object llama() {
  return json::parse(R"({"architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":64,
    "intermediate_size":172,"max_position_embeddings":512,"num_attention_heads":8,"num_hidden_layers":2,
    "num_key_value_heads":4,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":true,"vocab_size":512,
    "bos_token_id":1,"eos_token_id":2})").as_object();
}

json::object changed(const std::string& changes) {
  json::object config = llama();
  const json::value parsed_changes = json::parse(changes);
  for (const auto& change : parsed_changes.get_object()) config[change.key()] = change.value();
  return config;
}

ModelConfig parsed(const std::string& changes) { return parse_model_config(json::serialize(changed(changes)), "config.json"); }

std::string fault_of(const std::string& changes) {
  try {
    parsed(changes);
  } catch (const FormatError& error) {
    return error.what();
  }
  return "";
}

TEST(HfConfig, ReadsLlama) {
  const ModelConfig config = parsed("{}");
  EXPECT_EQ(config.architecture, Architecture::kLlama);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_FALSE(config.qkv_bias);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
  EXPECT_EQ(config.rope_scaling.kind, RopeScaling::Kind::kNone);
}

TEST(HfConfig, ArchitecturesDiffer) {
  const ModelConfig qwen2 = parsed(R"({"architectures":["Qwen2ForCausalLM"],"use_sliding_window":false,"sliding_window":99})");
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias);
  EXPECT_EQ(qwen2.sliding_window, 0);
  const ModelConfig qwen3 = parsed(R"({"architectures":["Qwen3ForCausalLM"],"head_dim":24,"attention_bias":false})");
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 24);
  EXPECT_EQ(linear_shape(qwen3, "o_proj")->in, 8 * 24);
  const ModelConfig mistral = parsed(R"({"architectures":["MistralForCausalLM"],"sliding_window":128})");
  EXPECT_EQ(mistral.sliding_window, 128);
  EXPECT_EQ(parsed(R"({"architectures":["MistralForCausalLM"],"sliding_window":null})").sliding_window, 0);
  EXPECT_EQ(parsed(R"({"architectures":["MistralForCausalLM"],"sliding_window":512})").sliding_window, 0);
  EXPECT_EQ(parsed(R"({"architectures":["MistralForCausalLM"],"max_position_embeddings":8192})").sliding_window, 4096);
  const ModelConfig biased = parsed(R"({"attention_bias":true,"mlp_bias":true})");
  EXPECT_TRUE(biased.qkv_bias && biased.o_bias && biased.mlp_bias);
}

TEST(HfConfig, ReadsRopeScaling) {
  const ModelConfig llama3 = parsed(R"({"rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,
      "high_freq_factor":4.0,"original_max_position_embeddings":256}})");
  EXPECT_EQ(llama3.rope_scaling.kind, RopeScaling::Kind::kLlama3);
  EXPECT_EQ(llama3.rope_scaling.original_max_position_embeddings, 256);
  const ModelConfig yarn = parsed(R"({"rope_scaling":{"type":"yarn","factor":4.0}})");
  EXPECT_EQ(yarn.rope_scaling.kind, RopeScaling::Kind::kYarn);
  EXPECT_EQ(yarn.rope_scaling.original_max_position_embeddings, 512);
  EXPECT_FALSE(yarn.rope_scaling.attention_factor);
  EXPECT_EQ(parsed(R"({"rope_scaling":{"type":"linear","factor":2}})").rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(parsed(R"({"rope_scaling":null})").rope_scaling.kind, RopeScaling::Kind::kNone);
  EXPECT_EQ(parsed(R"({"rope_parameters":{"rope_type":"default","rope_theta":5e5}})").rope_theta, 5e5);
  EXPECT_THAT(fault_of(R"({"rope_scaling":{"type":"dynamic","factor":2}})"), HasSubstr("linear, llama3 and yarn are"));
  EXPECT_THAT(fault_of(R"({"rope_scaling":{"type":"linear"}})"), HasSubstr("rope_scaling.factor"));
  EXPECT_THAT(fault_of(R"({"rope_scaling":{"type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":1,
      "original_max_position_embeddings":8}})"), HasSubstr("high_freq_factor"));
}

TEST(HfConfig, RefusalsNameFieldAndRemedy) {
  EXPECT_THAT(fault_of(R"({"architectures":["GPT2LMHeadModel"]})"), HasSubstr("MistralForCausalLM are"));
  EXPECT_THAT(fault_of(R"({"architectures":null})"), HasSubstr("architectures"));
  EXPECT_THAT(fault_of(R"({"hidden_act":"gelu"})"), HasSubstr("silu is"));
  EXPECT_THAT(fault_of(R"({"quantization_config":{"bits":4}})"), HasSubstr("unquantised"));
  EXPECT_THAT(fault_of(R"({"attention_dropout":0.1})"), HasSubstr("attention_dropout"));
  EXPECT_THAT(fault_of(R"({"partial_rotary_factor":0.5})"), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(fault_of(R"({"num_experts":8})"), HasSubstr("mixtures of experts"));
  EXPECT_THAT(fault_of(R"({"layer_types":["sliding_attention"]})"), HasSubstr("layer_types"));
  EXPECT_THAT(fault_of(R"({"architectures":["Qwen2ForCausalLM"],"use_sliding_window":true})"), HasSubstr("set it to false"));
  EXPECT_THAT(fault_of(R"({"hidden_size":-64})"), HasSubstr("hidden_size"));
  EXPECT_THAT(fault_of(R"({"hidden_size":64.5})"), HasSubstr("hidden_size"));
  EXPECT_THAT(fault_of(R"({"hidden_size":60})"), HasSubstr("num_attention_heads"));
  EXPECT_THAT(fault_of(R"({"num_key_value_heads":3})"), HasSubstr("num_key_value_heads"));
  EXPECT_THAT(fault_of(R"({"head_dim":7})"), HasSubstr("odd"));
  EXPECT_THAT(fault_of(R"({"vocab_size":null})"), HasSubstr("vocab_size: is missing"));
  EXPECT_THAT(fault_of(R"({"eos_token_id":512})"), HasSubstr("eos_token_id"));
  EXPECT_THAT(fault_of(R"({"tie_word_embeddings":"yes"})"), HasSubstr("neither true nor false"));
  EXPECT_THROW(parse_model_config("[1]", "config.json"), FormatError);
  EXPECT_THROW(parse_model_config("{\"a\":", "config.json"), FormatError);
}

TEST(HfConfig, GathersEndOfTextIds) {
  TemporaryDirectory directory;
  base::write_durably(directory / "config.json", json::serialize(changed(R"({"eos_token_id":[2,5]})")));
  base::write_durably(directory / "generation_config.json", R"({"eos_token_id":[5,7]})");
  EXPECT_THAT(read_model_config(directory.path()).eos_token_ids, ElementsAre(2, 5, 7));
}

TEST(HfConfig, ChecksTensorsAgainstTheWeights) {
  TemporaryDirectory directory;
  const ModelConfig config = parsed("{}");
  const auto write = [&](auto change) {
    std::vector<ExpectedTensor> expected = expected_tensors(config);
    change(expected);
    std::vector<std::vector<float>> values;
    std::vector<TensorToWrite> tensors;
    for (const ExpectedTensor& tensor : expected) {
      std::int64_t elements = 1;
      for (const std::int64_t size : tensor.shape) elements *= size;
      values.emplace_back(static_cast<std::size_t>(elements));
      tensors.push_back({tensor.name, tensor.shape, values.back()});
    }
    write_safetensors(directory / "model.safetensors", std::move(tensors));
    return Weights::open(directory.path());
  };
  EXPECT_NO_THROW(check_weights(config, write([](auto&) {})));
  EXPECT_NO_THROW(check_weights(config, write([](auto& t) { t.push_back({"lm_head.weight", {512, 64}}); })));
  EXPECT_THROW(check_weights(config, write([](auto& t) { t.push_back({"model.extra.weight", {1}}); })), FormatError);
  EXPECT_THROW(check_weights(config, write([](auto& t) { t.pop_back(); })), FormatError);
  EXPECT_THROW(check_weights(config, write([](auto& t) { t[0].shape = {511, 64}; })), FormatError);
  EXPECT_EQ(parameter_count(config), 512 * 64 + 2 * (2 * 64 + 2 * 64 * 64 + 2 * 32 * 64 + 3 * 172 * 64) + 64);
}

TEST(HfConfig, ReadsTheSharedModel) {
  const std::filesystem::path model = std::filesystem::path(FINETUNED_SOURCE_DIR) / ".." / "shared/models/stories260k";
  if (!std::filesystem::exists(model)) GTEST_SKIP() << "no ../shared/models/stories260k";
  const ModelConfig config = read_model_config(model);
  check_weights(config, Weights::open(model));
  EXPECT_EQ(config.layers, 5);
}

}  // namespace
}  // namespace finetuned::formats
