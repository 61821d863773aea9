#include "base/files.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>
#include <future>

#include "base/errors.h"
#include "base/ids.h"

namespace finetuned::base {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  fs::path folder = fs::temp_directory_path() / make_id("finetuned-files");
  void SetUp() override { fs::create_directory(folder); }
  void TearDown() override { fs::remove_all(folder); }
  std::size_t entries() const { return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {})); }
};

TEST_F(Files, DurableFileAppearsWholeOnCommit) {
  {
    DurableFile file(folder / "a");
    file.write("hello ");
    EXPECT_FALSE(fs::exists(folder / "a"));
    file.write("world");
    file.commit();
  }
  EXPECT_EQ(read_file(folder / "a", 100), "hello world");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, AbandonedFileLeavesNothing) {
  write_durably(folder / "a", "old");
  {
    DurableFile file(folder / "a");
    file.write("half");
  }
  EXPECT_EQ(read_file(folder / "a", 100), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(Files, ReadingIsBounded) {
  write_durably(folder / "a", std::string(1000, 'x'));
  EXPECT_THROW(read_file(folder / "a", 999), FormatError);
  EXPECT_EQ(read_file(folder / "a", 1000).size(), 1000u);
  EXPECT_THROW(read_file(folder / "missing", 10), FileError);
  EXPECT_THROW(read_file(folder, 10), FormatError);
  EXPECT_THROW(read_file("/dev/zero", 1 << 20), FormatError);
}

TEST(StorageFaults, TheDisksAreToldFromTheAskers) {
  for (const int number : {ENOSPC, EDQUOT, EIO, EROFS, ESTALE, ENOTCONN, ETIMEDOUT})
    EXPECT_TRUE(is_storage_fault({number, std::generic_category()})) << number;
  for (const int number : {0, ENOENT, EACCES, EISDIR, ENAMETOOLONG, EMFILE})
    EXPECT_FALSE(is_storage_fault({number, std::generic_category()})) << number;
  EXPECT_FALSE(is_storage_fault(std::make_error_code(std::future_errc::no_state)));
}

}  // namespace
}  // namespace finetuned::base
