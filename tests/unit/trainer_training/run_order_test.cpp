#include "trainer/training/run_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <tuple>

#include "base/errors.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"

namespace finetuned::training {
namespace {

/// Each field unlike its default. One that is added has to be named here for this to compile.
RunConfig unlike_the_default() {
  const auto set = [](RunConfig& config) {
    auto& [base_directory, base_name, out_directory, init_adapter, full_parameter, lora_rank, lora_alpha, lora_dropout, use_rslora,
           target_modules, learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm, batch_size, epochs, max_steps,
           checkpoint_steps, checkpoint_epochs, validation_steps, shuffle, seed, max_seq_length, micro_batch_tokens, recompute,
           memory_limit_bytes, dtype, device, threads, state_file, state_steps, state_seconds, stop_after, resume_from] = config;
    base_directory = "/a base";
    base_name = "name";
    out_directory = "/out";
    init_adapter = "/adapter";
    full_parameter = !full_parameter;
    lora_rank = 11;
    lora_alpha = 0.1 + 0.2;  // no text of 16 digits is it
    lora_dropout = 1.0 / 3;
    use_rslora = !use_rslora;
    target_modules = {"q_proj", "down_proj"};
    learning_rate = 1e-300;
    lr_scheduler = LrScheduler::kCosine;
    warmup_ratio = 0.25;
    weight_decay = 0.125;
    max_grad_norm = 0.5;
    batch_size = 12;
    epochs = 13;
    max_steps = 14;
    checkpoint_steps = 15;
    checkpoint_epochs = !checkpoint_epochs;
    validation_steps = 16;
    shuffle = !shuffle;
    seed = ~std::uint64_t{0};
    max_seq_length = 17;
    micro_batch_tokens = 18;
    recompute = !recompute;
    memory_limit_bytes = ~std::uint64_t{1};
    dtype = formats::Dtype::kBF16;
    device = {tensor::DeviceSpec::Kind::kCuda, 3};
    threads = 19;
    state_file = "/state";
    state_steps = 20;
    state_seconds = 21;
    stop_after = 22;
    resume_from = "/state before";
  };
  RunConfig config;
  set(config);
  return config;
}

/// each(one's field, other's field, its number)
template <class Each>
void each_pair(const RunConfig& one, const RunConfig& other, const Each& each) {
  const auto fields = [](const RunConfig& config) {
    const auto& [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, aa, bb, cc, dd, ee, ff, gg, hh, ii] = config;
    return std::tie(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, aa, bb, cc, dd, ee, ff, gg, hh, ii);
  };
  const auto all_of_one = fields(one), all_of_other = fields(other);
  [&]<std::size_t... At>(std::index_sequence<At...>) {
    (each(std::get<At>(all_of_one), std::get<At>(all_of_other), At), ...);
  }(std::make_index_sequence<std::tuple_size_v<decltype(all_of_one)>>());
}

TEST(RunOrder, IsReadAsItWasWrittenInEachField) {
  const TemporaryDirectory directory;
  const RunConfig config = unlike_the_default();
  const auto rows = tiny_rows(12), validation = tiny_rows(3, 8);
  write_run_order(directory / "order", config, rows, validation);
  const RunOrder read = read_run_order(directory / "order");
  each_pair(config, RunConfig{}, [](const auto& set, const auto& usual, std::size_t at) { EXPECT_FALSE(set == usual) << at; });
  each_pair(config, read.config, [](const auto& set, const auto& found, std::size_t at) { EXPECT_TRUE(set == found) << at; });
  const auto expect_same = [](const std::vector<text::TokenRow>& found, const std::vector<text::TokenRow>& written) {
    ASSERT_EQ(found.size(), written.size());
    for (std::size_t i = 0; i < written.size(); ++i) {
      EXPECT_EQ(found[i].ids, written[i].ids);
      EXPECT_EQ(found[i].labels, written[i].labels);
    }
  };
  expect_same(read.training, rows);
  expect_same(read.validation, validation);
}

TEST(RunOrder, KeepsWhatIsAbsentAbsent) {
  const TemporaryDirectory directory;
  write_run_order(directory / "order", RunConfig{}, tiny_rows(1), {});
  const RunOrder read = read_run_order(directory / "order");
  each_pair(RunConfig{}, read.config, [](const auto& usual, const auto& found, std::size_t at) { EXPECT_TRUE(usual == found) << at; });
  EXPECT_TRUE(read.validation.empty());
}

TEST(RunOrder, ThatIsNotWholeIsRefusedWhereverItEnds) {
  const TemporaryDirectory directory;
  write_run_order(directory / "order", tiny_run(directory.path(), "out"), tiny_rows(2), {});
  const std::string whole = base::read_file(directory / "order", 1 << 20);
  for (std::size_t length = 0; length < whole.size(); ++length) {
    base::write_durably(directory / "short", whole.substr(0, length));
    EXPECT_THROW(read_run_order(directory / "short"), base::FormatError) << length;
  }
}

}  // namespace
}  // namespace finetuned::training
