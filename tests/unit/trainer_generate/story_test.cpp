#include <filesystem>
#include <gtest/gtest.h>

#include "tests/unit/trainer_model/tiny_models.h"
#include "trainer/generate/generate.h"

namespace finetuned::generate {
namespace {

/// What the pretrained story model says after its BOS token, greedily, worked out by PyTorch in double: "Once
/// upon a time, there was a little girl named Lily. She loved to play outside in the park. ..."
const std::vector<std::int32_t> kStory{
    403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337,
    410, 408, 419, 292, 411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 358, 394, 261, 370, 432, 352,
    266, 268, 388, 426, 338, 391, 266, 267, 337, 335, 312, 432, 398, 312, 286, 267, 414, 270, 333, 415,
    426, 13,  438, 310, 439, 419, 357, 336, 432, 313, 438, 310, 432, 278, 316, 439, 419, 298, 414, 267,
    265, 282, 295, 433, 426, 436, 317, 286, 296, 418, 269, 279, 292, 416, 439, 413, 409, 416, 327, 263,
    415, 294, 267, 400, 426, 338, 336, 432, 313, 442, 391, 267, 337, 335, 364, 420, 268, 388, 432, 398,
    359, 280, 303, 439, 413, 272, 417, 264, 312, 426, 436, 13,  438, 310, 286, 296, 418, 269, 279, 292,
    416, 439, 413, 409, 416, 327, 263, 415, 294, 267, 400, 426, 338, 336, 432, 313, 442, 439, 423, 262,
    304, 420, 422, 432, 317, 426, 359, 279, 292, 416, 439, 413, 409, 416, 327, 263, 415, 294, 267, 400,
    426, 436, 13,  438, 310, 279, 292, 416, 439, 413, 391, 267, 281, 421, 427, 311, 357, 432, 384, 358};

model::ModelSettings reading(std::int64_t tokens) {
  model::ModelSettings settings;
  settings.max_tokens = tokens;
  settings.max_rows = 1;
  return settings;
}

class Story : public testing::Test {
 protected:
  void SetUp() override {
    directory = std::filesystem::path(FINETUNED_SOURCE_DIR) / "../shared/models/stories260k";
    if (!std::filesystem::exists(directory))
      GTEST_SKIP() << "the story model is not beside the project (" << directory << ")";
    config = formats::read_model_config(directory);
    weights.emplace(formats::Weights::open(directory));
    formats::check_weights(config, *weights);
  }

  std::filesystem::path directory;
  formats::ModelConfig config;
  std::optional<formats::Weights> weights;
};

TEST_F(Story, IsToldFromBosAloneOnEachInstructionSet) {
  for (const auto isa : {tensor::Isa::kBaseline, tensor::Isa::kAvx2, tensor::Isa::kAvx512}) {
    tensor::Cpu cpu(2, isa);
    model::Transformer<tensor::Cpu> model(cpu, config, model::stored_weights(*weights), reading(16));
    Request request;
    request.max_tokens = static_cast<std::int64_t>(kStory.size());
    const std::vector<std::int32_t> bos{1};
    EXPECT_EQ(generate(model, bos, request).ids, kStory) << tensor::isa_name(cpu.isa());
  }
}

TEST_F(Story, IsTheSameWithoutACacheAndFromAnyPrefix) {
  tensor::Cpu cpu(2);
  model::Transformer<tensor::Cpu> model(cpu, config, model::stored_weights(*weights), reading(256));
  Request request;
  request.use_cache = false;
  request.max_tokens = static_cast<std::int64_t>(kStory.size());
  EXPECT_EQ(generate(model, std::vector<std::int32_t>{1}, request).ids, kStory);

  std::vector<std::int32_t> prefix{1};
  prefix.insert(prefix.end(), kStory.begin(), kStory.begin() + 100);
  request.use_cache = true;
  request.max_tokens = 100;
  EXPECT_EQ(generate(model, prefix, request).ids,
            std::vector<std::int32_t>(kStory.begin() + 100, kStory.end()));
}

}  // namespace
}  // namespace finetuned::generate
