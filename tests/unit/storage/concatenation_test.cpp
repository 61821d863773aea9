#include "storage/objects/concatenation.h"

#include <gtest/gtest.h>

#include "base/ids.h"
#include "base/sha256.h"
#include "storage/objects/local_store.h"

namespace finetuned::objects {
namespace {

namespace fs = std::filesystem;

class ConcatenationTest : public testing::Test {
 protected:
  ~ConcatenationTest() override { fs::remove_all(root_); }

  std::string put(const std::string& content) {
    const auto writer = store_.create(1 << 25);
    writer->write(content);
    return writer->commit().id;
  }
  std::size_t half_written() {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(root_ / "tmp"), fs::directory_iterator()));
  }

  const fs::path root_ = fs::temp_directory_path() / base::make_id("concatenation");
  LocalStore store_{root_};
};

TEST_F(ConcatenationTest, TheWholeIsThePartsInTheirOrder) {
  const std::string first = base::random_bytes(3'000'000), second = base::random_bytes(1), third = base::random_bytes(70'000);
  const std::vector<std::string> ids{put(first), put(second), put(third)};
  const std::string expected = third + first + second;
  for (const std::size_t most : {std::size_t{999}, std::size_t{1} << 20, std::size_t{1} << 30}) {
    auto writer = store_.create(expected.size());
    const std::string id = writer->id();
    Concatenation whole(store_, std::move(writer), {ids[2], ids[0], ids[1]}, true);
    std::uint64_t before = 0;
    while (whole.copy_some(most)) {
      EXPECT_LE(whole.bytes_copied() - before, most);
      before = whole.bytes_copied();
    }
    EXPECT_FALSE(whole.copy_some(most)) << "nothing is left";
    base::Md5 md5;
    md5.update(expected);
    EXPECT_EQ(whole.md5(), md5.hex());
    const StoredObject stored = whole.commit();
    EXPECT_EQ(stored.id, id);
    EXPECT_EQ(stored.sha256, base::sha256_hex(expected));
    EXPECT_EQ(read_object(store_, id, expected.size()), expected);
  }
}

TEST_F(ConcatenationTest, AbandonedItLeavesNothing) {
  const std::string part = put(std::string(100'000, 'x'));
  {
    Concatenation whole(store_, store_.create(1 << 20), {part, part}, false);
    EXPECT_TRUE(whole.copy_some(150'000));
    EXPECT_EQ(half_written(), 1u);
  }
  EXPECT_EQ(half_written(), 0u);
  EXPECT_EQ(read_object(store_, part, 1 << 20).size(), 100'000u);
}

TEST_F(ConcatenationTest, AMissingPartAndALimitEndIt) {
  const std::string part = put("part"), gone = put("gone");
  store_.remove(gone);
  Concatenation without(store_, store_.create(100), {part, gone}, false);
  EXPECT_THROW(without.copy_some(100), ObjectMissing);
  Concatenation larger(store_, store_.create(7), {part, part}, false);
  EXPECT_THROW(larger.copy_some(100), ObjectTooLarge);
}

TEST_F(ConcatenationTest, AFileBeyondTheFlushStepIsWhole) {
  const std::string content = base::random_bytes(20 << 20);
  const std::string part = put(content);
  Concatenation whole(store_, store_.create(1 << 27), {part, part, part, part}, false);
  while (whole.copy_some(8 << 20)) {
  }
  const StoredObject stored = whole.commit();
  EXPECT_EQ(stored.bytes, 4 * content.size());
  EXPECT_EQ(stored.sha256, base::sha256_hex(content + content + content + content));
  EXPECT_EQ(base::sha256_file(root_ / stored.id.substr(0, 2) / stored.id.substr(2)), stored.sha256);
}

}  // namespace
}  // namespace finetuned::objects
