#include "services/worker/resident_bases.h"

#include <atomic>
#include <chrono>
#include <future>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdexcept>
#include <thread>

#include "base/errors.h"
#include "base/sha256.h"
#include "tests/integration/platform/tiny_model.h"
#include "tests/unit/trainer_formats/temporary_directory.h"

namespace finetuned::worker {
namespace {

namespace fs = std::filesystem;
using Ahead = ResidentBases::Ahead;

constexpr std::uint64_t kPlenty = std::uint64_t{1} << 40;
constexpr std::uint64_t kRun = std::uint64_t{1} << 20;  ///< more than a tiny base takes

constexpr std::chrono::seconds kLong{60};

/// A base that is read ahead on a thread of its own, and stands still at its third piece until outcome() is asked for.
class ReadingAhead {
 public:
  ReadingAhead(ResidentBases& bases, const fs::path& directory) : bases_(bases) {
    outcome_ = std::async(std::launch::async, [this, directory] {
      return bases_.read_ahead(directory, stop_.get_token(), [this] { piece(); });
    });
    if (reached_.get_future().wait_for(kLong) != std::future_status::ready) throw std::runtime_error("nothing is read");
  }

  void request_stop() { stop_.request_stop(); }

  /// A run that wants `directory` meanwhile; how many pieces it reads itself.
  std::future<int> lend_beside(const fs::path& directory) {
    lender_comes_ = true;
    return std::async(std::launch::async, [this, directory] {
      int pieces = 0;
      bases_.lend(directory, kRun, [&pieces] { ++pieces; });
      return pieces;
    });
  }

  Ahead outcome() {
    go_on_.set_value();
    return outcome_.get();
  }

 private:
  void piece() {
    if (++pieces_ == 3) {
      reached_.set_value();
      go_on_.get_future().wait_for(kLong);
    }
    // The lender says that it waits a moment after it was started.
    if (pieces_ >= 3 && lender_comes_) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }

  ResidentBases& bases_;
  std::stop_source stop_;
  std::promise<void> reached_, go_on_;
  std::atomic<bool> lender_comes_{false};
  int pieces_ = 0;
  std::future<Ahead> outcome_;
};

class ResidentBasesTest : public testing::Test {
 protected:
  fs::path base(const std::string& name, std::uint64_t seed = 1) {
    tests::write_tiny_model(directory_ / name, seed);
    return directory_ / name;
  }

  static std::uint64_t size_of(const fs::path& directory) {
    ResidentBases alone(kPlenty);
    alone.lend(directory, kRun);
    return alone.counts().bytes;
  }

  /// What a run takes beside the bytes that it names itself.
  static std::uint64_t tokenizer_size_of(const fs::path& directory) {
    ResidentBases alone(kPlenty);
    alone.encoder(directory);
    return alone.counts().bytes;
  }

  TemporaryDirectory directory_;
};

TEST_F(ResidentBasesTest, ReadsABaseOnceForAllItsRuns) {
  const fs::path a = base("a");
  ResidentBases bases(kPlenty);
  const float* first = nullptr;
  for (int run = 0; run < 3; ++run) {
    const auto encoder = bases.encoder(a);
    const ResidentBases::Lent lent = bases.lend(a, kRun);
    if (run == 0) first = lent.weights().on<tensor::Cpu>().find("model.norm.weight");
    EXPECT_EQ(lent.weights().on<tensor::Cpu>().find("model.norm.weight"), first);
    EXPECT_EQ(bases.encoder(a), encoder);
    EXPECT_TRUE(bases.in_use());
  }
  EXPECT_FALSE(bases.in_use());
  EXPECT_EQ(bases.counts().reads, 1);
  EXPECT_EQ(bases.counts().bases, 1);
}

TEST_F(ResidentBasesTest, ReadsAnewWhatWasReplacedInPlace) {
  const fs::path a = base("a");
  ResidentBases bases(kPlenty);
  const auto value_and_hash = [&] {
    const ResidentBases::Lent lent = bases.lend(a, kRun);
    return std::pair(lent.weights().on<tensor::Cpu>().find("model.embed_tokens.weight")[0], lent.hashes());
  };
  const auto before = value_and_hash();
  base("a", 2);
  const auto after = value_and_hash();
  EXPECT_NE(before.first, after.first);
  EXPECT_THAT(after.second, testing::Contains(testing::Pair("model.safetensors",
                                                            base::sha256_file(a / "model.safetensors"))));
  EXPECT_NE(before.second, after.second);
  EXPECT_EQ(bases.counts().reads, 2);
  EXPECT_EQ(bases.counts().bases, 1);

  const auto encoder = bases.encoder(a);
  fs::last_write_time(a / "tokenizer.json",
                      fs::last_write_time(a / "tokenizer.json") + std::chrono::nanoseconds(1));
  EXPECT_NE(bases.encoder(a), encoder);
}

TEST_F(ResidentBasesTest, DropsTheLongestUnusedFirst) {
  const fs::path a = base("a"), b = base("b"), c = base("c");
  const std::uint64_t each = size_of(a);
  ResidentBases bases(2 * each + kRun + tokenizer_size_of(a));
  bases.lend(a, kRun);
  bases.lend(b, kRun);
  bases.lend(a, kRun);
  bases.lend(c, kRun);  // two bases fit beside the run: a and b
  EXPECT_EQ(bases.counts().evictions, 0);
  bases.lend(c, kRun + 1);
  EXPECT_EQ(bases.counts().evictions, 1);
  bases.lend(a, kRun);
  EXPECT_EQ(bases.counts().reads, 3) << "a was used after b";
  bases.lend(b, kRun);
  EXPECT_EQ(bases.counts().reads, 4);
}

TEST_F(ResidentBasesTest, NothingKeptStandsInTheWayOfARunThatFitsAlone) {
  const fs::path a = base("a"), b = base("b"), c = base("c");
  ResidentBases bases(4 * kRun);
  for (const fs::path& one : {a, b, c})
    bases.lend(one, kRun);
  EXPECT_EQ(bases.counts().bases, 3);
  const ResidentBases::Lent lent = bases.lend(c, 4 * kRun);
  EXPECT_EQ(bases.counts().bases, 1);
  EXPECT_EQ(bases.counts().reads, 3);
}

TEST_F(ResidentBasesTest, KeepsNothingOfABaseThatCannotBeRead) {
  const fs::path a = base("a");
  const auto size = fs::file_size(a / "model.safetensors");
  fs::resize_file(a / "model.safetensors", size - 4);
  ResidentBases bases(kPlenty);
  EXPECT_THROW(bases.lend(a, kRun), base::FormatError);
  EXPECT_THROW(bases.read_ahead(a, {}), base::FormatError);
  EXPECT_FALSE(bases.in_use());
  EXPECT_EQ(bases.counts().bytes, 0u);
  fs::resize_file(a / "model.safetensors", size);
  bases.lend(a, kRun);
  EXPECT_EQ(bases.counts().reads, 1);
  fs::remove_all(a);
  EXPECT_THROW(bases.encoder(a), base::FormatError);
  EXPECT_EQ(bases.counts().bytes, 0u);
}

TEST_F(ResidentBasesTest, ReadsAheadOnlyWhatFitsBesideTheRun) {
  const fs::path a = base("a"), b = base("b"), c = base("c");
  const std::uint64_t each = size_of(b);
  ResidentBases bases(kRun + tokenizer_size_of(a) + each);
  bases.lend(c, kRun);
  {
    const ResidentBases::Lent lent = bases.lend(a, kRun);
    EXPECT_EQ(bases.counts().evictions, 0) << "c fits beside the run";
    EXPECT_EQ(bases.read_ahead(b, {}), Ahead::kReady);
    EXPECT_EQ(bases.counts().evictions, 1) << "c makes room for b";
    EXPECT_EQ(bases.read_ahead(b, {}), Ahead::kReady);
    EXPECT_EQ(bases.counts().reads, 3);
    EXPECT_EQ(bases.counts().bases, 2);
  }
  const ResidentBases::Lent lent = bases.lend(a, kRun + 1);
  EXPECT_EQ(bases.read_ahead(b, {}), Ahead::kNoRoom);
  EXPECT_EQ(bases.counts().reads, 3);
}

TEST_F(ResidentBasesTest, ABaseReadAheadIsThereForItsRun) {
  const fs::path a = base("a"), b = base("b");
  ResidentBases bases(kPlenty);
  {
    const ResidentBases::Lent lent = bases.lend(a, kRun);
    ASSERT_EQ(bases.read_ahead(b, {}), Ahead::kReady);
  }
  bases.encoder(b);
  bases.lend(b, kRun);
  EXPECT_EQ(bases.counts().reads, 2);
}

TEST_F(ResidentBasesTest, ALentBaseOutlivesItsFiles) {
  const fs::path a = base("a");
  ResidentBases bases(kPlenty);
  const ResidentBases::Lent lent = bases.lend(a, kRun);
  const float before = lent.weights().on<tensor::Cpu>().find("model.embed_tokens.weight")[0];
  base("a", 2);
  EXPECT_EQ(bases.read_ahead(a, {}), Ahead::kReady);
  EXPECT_EQ(bases.counts().reads, 2);
  EXPECT_EQ(lent.weights().on<tensor::Cpu>().find("model.embed_tokens.weight")[0], before);
}

TEST_F(ResidentBasesTest, BreaksOffWhatIsReadAheadAndIsAskedToStop) {
  ResidentBases bases(kPlenty);
  ReadingAhead reading(bases, base("a"));
  reading.request_stop();
  EXPECT_EQ(reading.outcome(), Ahead::kBrokenOff);
  EXPECT_EQ(bases.counts().reads, 0);
  EXPECT_EQ(bases.counts().bytes, 0u);
}

TEST_F(ResidentBasesTest, WhatIsReadAheadGivesWayToAnotherBase) {
  const fs::path a = base("a"), b = base("b");
  ResidentBases bases(kPlenty);
  ReadingAhead reading(bases, a);
  const std::future<int> pieces = reading.lend_beside(b);
  EXPECT_EQ(reading.outcome(), Ahead::kBrokenOff);
  pieces.wait();
  EXPECT_EQ(bases.counts().bases, 1);
  EXPECT_EQ(bases.counts().reads, 1);
}

TEST_F(ResidentBasesTest, TheTokenizerOfABaseThatIsReadAheadIsThereAtOnce) {
  const fs::path a = base("a");
  ResidentBases bases(kPlenty, std::chrono::milliseconds(0));
  ReadingAhead reading(bases, a);
  EXPECT_NE(bases.encoder(a), nullptr);  // while the weights stand still
  EXPECT_EQ(reading.outcome(), Ahead::kReady);
}

TEST_F(ResidentBasesTest, BreaksOffForARunThatIsNoLongerWanted) {
  struct Unwanted {};
  const fs::path a = base("a");
  ResidentBases bases(kPlenty);
  EXPECT_THROW(bases.lend(a, kRun, [] { throw Unwanted(); }), Unwanted);
  EXPECT_FALSE(bases.in_use());
  EXPECT_EQ(bases.counts().bytes, 0u);
  bases.lend(a, kRun);
  EXPECT_EQ(bases.counts().reads, 1);
}

TEST_F(ResidentBasesTest, ARunThatRunsOutOfPatienceReadsTheRestItself) {
  const fs::path a = base("a");
  int all = 0;
  ResidentBases alone(kPlenty);
  const ResidentBases::Lent whole = alone.lend(a, kRun, [&all] { ++all; });
  ResidentBases bases(kPlenty, std::chrono::milliseconds(0));
  ReadingAhead reading(bases, a);
  std::future<int> pieces = reading.lend_beside(a);
  EXPECT_EQ(reading.outcome(), Ahead::kBrokenOff);
  const int rest = pieces.get();
  EXPECT_GT(rest, 0);
  EXPECT_LT(rest, all) << "what was read ahead was read again";
  EXPECT_EQ(bases.counts().reads, 1);
  EXPECT_EQ(bases.counts().bytes, alone.counts().bytes);
  const ResidentBases::Lent lent = bases.lend(a, kRun);
  EXPECT_EQ(lent.hashes(), whole.hashes());
  for (const formats::ExpectedTensor& tensor : formats::expected_tensors(lent.weights().config()))
    EXPECT_EQ(lent.weights().on<tensor::Cpu>().find(tensor.name)[0], whole.weights().on<tensor::Cpu>().find(tensor.name)[0]) << tensor.name;
}

TEST_F(ResidentBasesTest, ARunWaitsForItsOwnBaseToBeReadAhead) {
  const fs::path a = base("a");
  ResidentBases bases(kPlenty, kLong);
  ReadingAhead reading(bases, a);
  std::future<int> pieces = reading.lend_beside(a);
  EXPECT_EQ(reading.outcome(), Ahead::kReady);
  EXPECT_EQ(pieces.get(), 0);
  EXPECT_EQ(bases.counts().reads, 1);
}

}  // namespace
}  // namespace finetuned::worker
