#include "trainer/formats/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "base/errors.h"
#include "base/files.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "trainer/formats/half.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::formats {
namespace {

namespace fs = std::filesystem;

ModelConfig tiny_base() {
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

/// A number that looks random, the same for the same index.
float value_at(std::size_t i) { return std::sin(static_cast<float>(i * 2654435761u % 100'003u)); }

class Merge : public testing::Test {
 protected:
  void write_base(Dtype dtype, float factor = 1) {
    std::vector<TensorToWrite> tensors;
    for (const ExpectedTensor& expected : expected_tensors(base_)) {
      std::int64_t elements = 1;
      for (const std::int64_t size : expected.shape) elements *= size;
      auto& values = values_[expected.name];
      values.resize(static_cast<std::size_t>(elements));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = factor * value_at(i + 7 * expected.name.size());
      tensors.push_back({expected.name, expected.shape, values});
    }
    write_safetensors(directory_ / "base/model.safetensors", tensors, dtype);
  }
  void SetUp() override {
    fs::create_directories(directory_ / "base");
    fs::create_directories(directory_ / "out");
    base::write_durably(directory_ / "base/config.json", "{\"a\":1}");
    base::write_durably(directory_ / "base/.hidden.json", "{}");
    base::write_durably(directory_ / "base/pytorch_model.bin", "not for the archive");
    AdapterConfig config;
    config.rank = 3;
    config.alpha = 7;
    config.target_modules = {"q_proj", "v_proj", "down_proj"};
    adapter_ = make_adapter(config, base_);
    std::size_t next = 0;
    for (LoraPair& pair : adapter_.pairs) {
      for (float& a : pair.a) a = value_at(++next);
      for (float& b : pair.b) b = value_at(++next);
    }
  }
  std::string merged_tar() const {
    std::string bytes;
    write_merged_tar(directory_ / "base", adapter_, [&](std::string_view more) { bytes += more; });
    return bytes;
  }
  /// Unpacks with the system's tar.
  void unpack(const std::string& bytes) const {
    base::write_durably(directory_ / "merged.tar", bytes);
    const std::string command = "tar -xf " + (directory_ / "merged.tar").string() + " -C " + (directory_ / "out").string();
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  /// W + scale B A of one element, in double precision.
  double direct(const LoraPair& pair, float weight, std::int64_t o, std::int64_t i) const {
    double sum = 0;
    for (std::int64_t r = 0; r < 3; ++r)
      sum += static_cast<double>(pair.b[static_cast<std::size_t>(o * 3 + r)]) * pair.a[static_cast<std::size_t>(r * pair.in + i)];
    return weight + adapter_.config.scale() * sum;
  }

  const ModelConfig base_ = tiny_base();
  std::map<std::string, std::vector<float>> values_;
  Adapter adapter_;
  const TemporaryDirectory directory_;
};

TEST_F(Merge, AddsTheScaledProductToAdaptedWeightsAlone) {
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kF16}) {
    write_base(dtype);
    unpack(merged_tar());
    const Weights before = Weights::open(directory_ / "base"), after = Weights::open(directory_ / "out");
    ASSERT_EQ(before.tensors().size(), after.tensors().size());
    std::size_t changed = 0;
    for (const TensorView* view : before.tensors()) {
      const TensorView& merged = after.at(view->name, view->shape);
      EXPECT_EQ(merged.dtype, view->dtype);
      const auto pair = std::find_if(adapter_.pairs.begin(), adapter_.pairs.end(), [&](const LoraPair& one) {
        return linear_path(one.layer, one.module) + ".weight" == view->name;
      });
      const std::vector<float> from = view->to_f32(), to = merged.to_f32();
      if (pair == adapter_.pairs.end()) {
        EXPECT_EQ(from, to) << view->name;
        continue;
      }
      ++changed;
      const double step = dtype == Dtype::kF32 ? 1e-6 : dtype == Dtype::kBF16 ? 1.0 / 256 : 1.0 / 2048;  // half a last place
      for (std::size_t k = 0; k < to.size(); ++k) {
        const auto at = static_cast<std::int64_t>(k);
        const double exact = direct(*pair, from[k], at / pair->in, at % pair->in);
        ASSERT_NEAR(to[k], exact, 1.01 * step * std::abs(exact) + 2e-6) << view->name << " " << k;
      }
    }
    EXPECT_EQ(changed, 6u);
  }
}

TEST_F(Merge, KeepsTheDirectoryAndGivesTheSameBytes) {
  write_base(Dtype::kBF16);
  const std::string bytes = merged_tar();
  EXPECT_EQ(bytes, merged_tar());
  unpack(bytes);
  EXPECT_EQ(base::read_file(directory_ / "out/config.json", 100), "{\"a\":1}");
  EXPECT_FALSE(fs::exists(directory_ / "out/.hidden.json"));
  EXPECT_FALSE(fs::exists(directory_ / "out/pytorch_model.bin"));
  EXPECT_EQ(fs::file_size(directory_ / "out/model.safetensors"), fs::file_size(directory_ / "base/model.safetensors"));
}

TEST_F(Merge, OfAZeroAdapterIsTheBase) {
  write_base(Dtype::kF16);
  for (LoraPair& pair : adapter_.pairs) std::fill(pair.b.begin(), pair.b.end(), 0.0f);
  unpack(merged_tar());
  EXPECT_EQ(base::read_file(directory_ / "out/model.safetensors", 1 << 20),
            base::read_file(directory_ / "base/model.safetensors", 1 << 20));
}

TEST_F(Merge, RefusesWhatLeavesTheRange) {
  write_base(Dtype::kF16, 60'000);
  for (LoraPair& pair : adapter_.pairs)
    for (float& b : pair.b) b *= 30'000;
  EXPECT_THROW(merged_tar(), base::FormatError);
}

TEST_F(Merge, RefusesAnotherBase) {
  write_base(Dtype::kF32);
  adapter_.pairs.front().layer = 9;
  EXPECT_THROW(merged_tar(), base::FormatError);
}

TEST(Tar, FilesOfEightGigabytesAndMoreHaveTheirSize) {
  std::string head;
  TarWriter tar([&](std::string_view more) { head += more; });
  const std::uint64_t bytes = (std::uint64_t{9} << 30) + 5;
  tar.begin("big", bytes);
  ASSERT_EQ(head.size(), 512u);
  EXPECT_EQ(static_cast<unsigned char>(head[124]), 0x80);
  std::uint64_t read = 0;
  for (std::size_t i = 128; i < 136; ++i) read = read << 8 | static_cast<unsigned char>(head[i]);
  EXPECT_EQ(read, bytes);
}

}  // namespace
}  // namespace finetuned::formats
