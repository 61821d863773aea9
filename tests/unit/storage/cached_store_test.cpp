#include "storage/objects/cached_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/ids.h"
#include "base/sha256.h"
#include "storage/objects/local_store.h"

namespace finetuned::objects {
namespace {

namespace fs = std::filesystem;

class CachedStoreTest : public testing::Test {
 protected:
  CachedStoreTest() {
    fs::remove_all(directory_);
    auto store = std::make_unique<LocalStore>(directory_ / "far");
    far_ = store.get();
    cached_ = std::make_unique<CachedStore>(std::move(store), directory_ / "cache", 1'000);
  }
  ~CachedStoreTest() override { fs::remove_all(directory_); }

  std::string put(const std::string& content) {
    const auto writer = cached_->create(content.size());
    writer->write(content);
    return writer->commit().id;
  }
  std::string get(const std::string& id) { return read_object(*cached_, id, 1 << 20); }
  std::vector<std::string> copies() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory_ / "cache")) names.push_back(entry.path().filename().string());
    return names;
  }
  void age(const std::string& id, int hours) {
    for (const auto& name : copies())
      if (name.rfind(id, 0) == 0)
        fs::last_write_time(directory_ / "cache" / name, fs::file_time_type::clock::now() - std::chrono::hours(hours));
  }

  const fs::path directory_ = fs::temp_directory_path() / base::make_id("cached_store_test");
  LocalStore* far_ = nullptr;
  std::unique_ptr<CachedStore> cached_;
};

TEST_F(CachedStoreTest, WhatWasReadIsReadWithoutTheOtherStore) {
  const std::string id = put("content");
  EXPECT_THAT(copies(), testing::IsEmpty()) << "what is written need not be read";
  EXPECT_EQ(get(id), "content");
  EXPECT_THAT(copies(), testing::ElementsAre(id + "-" + base::sha256_hex("content")));
  far_->remove(id);
  EXPECT_EQ(get(id), "content");
}

TEST_F(CachedStoreTest, AnAlteredCopyIsFetchedAnew) {
  const std::string id = put("content");
  get(id);
  std::ofstream(directory_ / "cache" / copies().front(), std::ios::binary) << "c0ntent";
  EXPECT_EQ(get(id), "content");
}

TEST_F(CachedStoreTest, TheLeastUsedMakesRoom) {
  const std::string first = put(std::string(400, '1')), second = put(std::string(400, '2')), third = put(std::string(400, '3'));
  get(first);
  get(second);
  age(first, 3);
  age(second, 2);
  get(first);  // used just now: the second is the older one
  get(third);
  EXPECT_THAT(copies(), testing::UnorderedElementsAre(testing::StartsWith(first), testing::StartsWith(third)));
}

TEST_F(CachedStoreTest, WhatIsTooLargeIsReadWhereItIs) {
  const std::string id = put(std::string(600, 'x'));
  EXPECT_EQ(get(id), std::string(600, 'x'));
  EXPECT_THAT(copies(), testing::IsEmpty());
}

TEST_F(CachedStoreTest, WithoutItsDirectoryItStillReads) {
  const std::string id = put("content");
  fs::remove_all(directory_ / "cache");
  std::ofstream(directory_ / "cache") << "a file in its place";
  EXPECT_EQ(get(id), "content");
}

TEST_F(CachedStoreTest, RemovedObjectsHaveNoCopies) {
  const std::string id = put("content");
  get(id);
  EXPECT_TRUE(cached_->remove(id));
  EXPECT_THAT(copies(), testing::IsEmpty());
  EXPECT_THROW(get(id), ObjectMissing);
  EXPECT_THROW(get("../" + id), ObjectMissing);
}

}  // namespace
}  // namespace finetuned::objects
