#include "trainer/training/run_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"

namespace finetuned::training {
namespace {

TEST(RunOrder, IsReadAsItWasWritten) {
  const TemporaryDirectory directory;
  RunConfig config = tiny_run(directory.path(), "out");
  config.learning_rate = 0.1 + 0.2;  // no text of 16 digits is it
  config.seed = ~std::uint64_t{0};
  config.init_adapter = directory / "adapter";
  config.checkpoint_steps = 7;
  config.target_modules = {"q_proj", "down_proj"};
  config.lr_scheduler = LrScheduler::kCosine;
  config.device = {tensor::DeviceSpec::Kind::kCuda, 3};
  config.threads = 5;
  const auto rows = tiny_rows(12), validation = tiny_rows(3, 8);
  write_run_order(directory / "order", config, rows, validation);
  const RunOrder read = read_run_order(directory / "order");
  EXPECT_EQ(read.config.base_directory, config.base_directory);
  EXPECT_EQ(read.config.learning_rate, config.learning_rate);
  EXPECT_EQ(read.config.seed, config.seed);
  EXPECT_EQ(read.config.init_adapter, config.init_adapter);
  EXPECT_EQ(read.config.max_steps, std::nullopt);
  EXPECT_EQ(read.config.checkpoint_steps, config.checkpoint_steps);
  EXPECT_EQ(read.config.target_modules, config.target_modules);
  EXPECT_EQ(read.config.lr_scheduler, config.lr_scheduler);
  EXPECT_EQ(read.config.device, config.device);
  EXPECT_EQ(read.config.threads, config.threads);
  ASSERT_EQ(read.training.size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(read.training[i].ids, rows[i].ids);
    EXPECT_EQ(read.training[i].labels, rows[i].labels);
  }
  EXPECT_EQ(read.validation.size(), validation.size());
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
