// A step takes no memory: everything lies in the arena. This program's own operator new counts.

#include <atomic>
#include <cstdlib>
#include <gtest/gtest.h>
#include <new>

#include "tests/unit/trainer_model/tiny_models.h"

namespace {
std::atomic<std::int64_t> allocations{0};
}

// Not inlined: g++ 12 takes the pair of new and free for a mistake where it sees both.
__attribute__((noinline)) void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept {
  std::free(memory);
}
__attribute__((noinline)) void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace finetuned::model {
namespace {

TEST(Steps, AllocateNothing) {
  tensor::Cpu cpu(2);
  for (const Mode mode : {Mode::kLora, Mode::kFull})
    for (const bool recompute : {false, true}) {
      auto settings = lora_settings(0.1);
      settings.mode = mode;
      settings.recompute = recompute;
      Transformer<tensor::Cpu> model(cpu, tiny_config(formats::Architecture::kLlama), lively_weights(),
                                     settings);
      const PackedBatch batch = pack(random_rows({30, 3, 20}, 37));
      const std::int64_t before = allocations;
      ASSERT_GT(before, 0);  // it does count
      model.zero_gradients();
      model.accumulate_gradients(batch, 0.1, 1);
      model.adamw_step({}, 1, model.gradient_norm());
      model.evaluate(batch);
      EXPECT_EQ(allocations, before);
    }
}

TEST(Decoding, AllocatesNothingForATokenButItsPlaceInTheAnswer) {
  tensor::Cpu cpu(2);
  auto settings = lora_settings();
  settings.mode = Mode::kAdapter;
  Transformer<tensor::Cpu> model(cpu, tiny_config(formats::Architecture::kQwen3), lively_weights(), settings);
  KvCache<tensor::Cpu> cache(model.device(), model.config(), 2, 16);
  std::vector<float> logits(2 * 37);
  const std::int32_t tokens[] = {1, 2, 3};
  const Continuation next[] = {{0, tokens}, {1, std::span(tokens).first(1)}};
  const std::int64_t before = allocations;
  model.extend(next, cache, logits);
  EXPECT_EQ(allocations, before);
}

}  // namespace
}  // namespace finetuned::model
