#include "storage/objects/local_store.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <vector>

#include "base/ids.h"
#include "base/sha256.h"

namespace finetuned {
namespace {

namespace fs = std::filesystem;

class LocalStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "ftobjects.XXXXXX";
    directory = mkdtemp(pattern.data());
    root = directory / "objects";
    store = std::make_unique<objects::LocalStore>(root);
  }
  void TearDown() override { fs::remove_all(directory); }

  objects::StoredObject put(const std::string& content) {
    const auto writer = store->create(1 << 20);
    writer->write(content);
    return writer->commit();
  }
  std::size_t half_written() {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(root / "tmp"), fs::directory_iterator()));
  }

  fs::path directory, root;
  std::unique_ptr<objects::LocalStore> store;
};

TEST_F(LocalStoreTest, WhatWasWrittenIsRead) {
  const std::string content = base::random_bytes(100'000);
  const auto writer = store->create(content.size());
  writer->write(std::string_view(content).substr(0, 1));
  writer->write(std::string_view(content).substr(1));
  EXPECT_EQ(writer->bytes_written(), content.size());
  const auto stored = writer->commit();
  EXPECT_EQ(stored.bytes, content.size());
  EXPECT_EQ(stored.sha256, base::sha256_hex(content));
  EXPECT_EQ(stored.id.size(), 32u);
  EXPECT_TRUE(fs::exists(root / stored.id.substr(0, 2) / stored.id.substr(2)));
  EXPECT_EQ(objects::read_object(*store, stored.id, content.size()), content);
  EXPECT_THROW(objects::read_object(*store, stored.id, content.size() - 1), base::FormatError);
}

/// Small pieces are gathered, large ones are hashed beside their writing.
TEST_F(LocalStoreTest, PiecesOfAnySizeAreWrittenAndHashedInTheirOrder) {
  const std::string content = base::random_bytes(6 << 20);
  const auto writer = store->create(content.size());
  const std::size_t sizes[] = {1, 300, 32 * 1024, 31 * 1024, 2048, 128 * 1024, 500'000, 1, 1 << 20, 32 * 1024 + 1, 64 * 1024};
  for (std::size_t at = 0, i = 0; at < content.size(); ++i) {
    const auto piece = std::string_view(content).substr(at, sizes[i % std::size(sizes)]);
    writer->write(piece);
    at += piece.size();
    EXPECT_EQ(writer->bytes_written(), at);
  }
  const auto stored = writer->commit();
  EXPECT_EQ(stored.sha256, base::sha256_hex(content));
  EXPECT_EQ(objects::read_object(*store, stored.id, content.size()), content);
}

TEST_F(LocalStoreTest, RangesAreExact) {
  const auto stored = put("0123456789");
  const auto reader = store->open(stored.id);
  EXPECT_EQ(reader->size(), 10u);
  char piece[16];
  EXPECT_EQ(std::string(piece, reader->read(3, piece, 4)), "3456");
  EXPECT_EQ(std::string(piece, reader->read(8, piece, 16)), "89");
  EXPECT_EQ(reader->read(10, piece, 16), 0u);
}

TEST_F(LocalStoreTest, AnAbandonedWriterLeavesNothing) {
  {
    const auto writer = store->create(100);
    writer->write("half");
    EXPECT_EQ(half_written(), 1u);
  }
  EXPECT_EQ(half_written(), 0u);
}

TEST_F(LocalStoreTest, TheSizeLimitHoldsAndLeavesNothing) {
  {
    const auto writer = store->create(5);
    writer->write("12345");
    EXPECT_THROW(writer->write("6"), objects::ObjectTooLarge);
  }
  EXPECT_EQ(half_written(), 0u);
}

TEST_F(LocalStoreTest, NothingOutsideTheRootIsReached) {
  std::ofstream(directory / "secret") << "secret";
  const auto stored = put("x");
  const std::string hex(30, 'a');
  const std::vector<std::string> ids{"../secret", "..",  "",
                                     "/etc/passwd", "tmp", "ab/../../secret",
                                     stored.id.substr(1), "ABCDEF00000000000000000000000000"};
  for (const std::string& id : ids) {
    EXPECT_THROW(store->open(id), objects::ObjectMissing) << id;
    EXPECT_FALSE(store->remove(id)) << id;
  }
  fs::create_directories(root / "aa");
  fs::create_symlink(directory / "secret", root / "aa" / hex);
  EXPECT_THROW(store->open("aa" + hex), objects::ObjectMissing) << "a link in place of an object";
  fs::create_directories(directory / "bb");
  std::ofstream(directory / "bb" / hex) << "secret";
  fs::create_directory_symlink(directory / "bb", root / "bb");
  EXPECT_THROW(store->open("bb" + hex), objects::ObjectMissing) << "a link in place of a directory";
  fs::create_directories(root / "cc" / hex);
  EXPECT_THROW(store->open("cc" + hex), objects::ObjectMissing) << "a directory in place of an object";
}

TEST_F(LocalStoreTest, RemovedObjectsAreMissing) {
  const auto stored = put("x");
  EXPECT_TRUE(store->remove(stored.id));
  EXPECT_FALSE(store->remove(stored.id));
  EXPECT_THROW(store->open(stored.id), objects::ObjectMissing);
}

TEST_F(LocalStoreTest, LeftoversOfADeadWriterGoAndThoseOfALiveOneStay) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {  // dies without unwinding, as by SIGKILL
    const auto writer = store->create(100);
    writer->write("half");
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  const auto live = store->create(100);
  live->write("still writing");
  ASSERT_EQ(half_written(), 2u);
  EXPECT_EQ(store->remove_leftovers(), 0u) << "young ones wait a minute";
  for (const auto& entry : fs::directory_iterator(root / "tmp"))
    fs::last_write_time(entry.path(), fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(store->remove_leftovers(), 1u);
  EXPECT_EQ(objects::read_object(*store, live->commit().id, 100), "still writing");
}

TEST_F(LocalStoreTest, AFullDiskIsStorageFull) {
  const fs::path small = directory / "small";
  fs::create_directories(small);
  const std::string command = "mount -t tmpfs -o size=256k tmpfs " + small.string() + " 2>/dev/null";
  if (std::system(command.c_str()) != 0) GTEST_SKIP() << "a small file system can be mounted by root only";
  {
    objects::LocalStore full(small);
    const auto writer = full.create(1 << 20);
    const std::string piece(64 << 10, 'x');
    EXPECT_THROW(
        {
          for (int i = 0; i < 16; ++i) writer->write(piece);
        },
        objects::StorageFull);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(small / "tmp"), fs::directory_iterator()), 0);
  EXPECT_EQ(std::system(("umount " + small.string()).c_str()), 0);
}

TEST_F(LocalStoreTest, FilesGoInAndOut) {
  const std::string content = base::random_bytes(3 << 20);
  std::ofstream(directory / "in", std::ios::binary) << content;
  const auto stored = objects::store_file(*store, directory / "in");
  objects::fetch_file(*store, stored.id, directory / "out");
  EXPECT_EQ(base::sha256_file(directory / "out"), stored.sha256);
  EXPECT_EQ(stored.sha256, base::sha256_hex(content));
  EXPECT_TRUE(store->writable());
}

}  // namespace
}  // namespace finetuned
