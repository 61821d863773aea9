#include "storage/objects/s3_store.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>

#include "base/errors.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/sha256.h"

namespace finetuned::objects {
namespace {

/// On the server that tests/e2e/s3 starts, whose proxy FINETUNED_TEST_S3 names.
class S3StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* endpoint = std::getenv("FINETUNED_TEST_S3");
    if (!endpoint) GTEST_SKIP() << "tests/e2e/s3 runs this: it needs an S3 server";
    options_.endpoint = endpoint;
    options_.region = "us-east-1";
    options_.bucket = "tests";
    options_.prefix = base::make_id("run") + "/";
    options_.access_key_id = options_.secret_access_key = "S3RVER";
    options_.timeout = std::chrono::seconds(1);
    options_.first_pause = std::chrono::milliseconds(20);
    store_ = std::make_unique<S3Store>(options_);
  }
  void TearDown() override {
    if (store_) fault("none", 0);
  }

  /// Of the proxy (tests/faults/s3_proxy.py).
  void fault(const std::string& mode, int count) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(options_.endpoint.substr(options_.endpoint.rfind(':') + 1))));
    ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    base::write_all(fd, "GET /__fault/" + mode + "/" + std::to_string(count) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "proxy");
    char answer[1024];
    ASSERT_GT(::read(fd, answer, sizeof answer), 0);
    ::close(fd);
  }

  StoredObject put(const std::string& content) {
    const auto writer = store_->create(content.size());
    for (std::size_t at = 0; at < content.size(); at += 100'003) writer->write(std::string_view(content).substr(at, 100'003));
    return writer->commit();
  }
  std::string get(const std::string& id) { return read_object(*store_, id, 1 << 30); }
  std::set<std::string> ids() {
    std::set<std::string> found;
    store_->list([&](const ObjectInfo& object) { found.insert(object.id); });
    return found;
  }
  /// Uploads in parts that were begun and not ended.
  std::string uploads() {
    return S3Client(options_).ask({.query = "prefix=" + encode_query(options_.prefix) + "&uploads="}).body;
  }

  S3Options options_;
  std::unique_ptr<S3Store> store_;
};

TEST_F(S3StoreTest, WhatWasWrittenIsRead) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, S3Store::kPartBytes, S3Store::kPartBytes + 1, 3 * S3Store::kPartBytes + 12'345}) {
    const std::string content = base::random_bytes(bytes);
    const auto stored = put(content);
    EXPECT_EQ(stored.bytes, bytes);
    EXPECT_EQ(stored.sha256, base::sha256_hex(content));
    EXPECT_EQ(store_->open(stored.id)->size(), bytes);
    EXPECT_TRUE(get(stored.id) == content) << bytes;
  }
  EXPECT_TRUE(store_->writable());
}

TEST_F(S3StoreTest, RangesAreExact) {
  const std::string content = base::random_bytes(S3Store::kWindowBytes + 1'000);
  const auto reader = store_->open(put(content).id);
  for (const auto& [offset, size] : {std::pair<std::size_t, std::size_t>{0, 10}, {S3Store::kWindowBytes - 5, 10}, {5, 0}, {content.size() - 3, 100}, {content.size(), 5}}) {
    std::string got(size, '\0');
    got.resize(reader->read(offset, got.data(), size));
    EXPECT_EQ(got, content.substr(offset, size)) << offset;
  }
}

TEST_F(S3StoreTest, AnAbandonedWriterLeavesNothing) {
  std::string id;
  {
    const auto writer = store_->create(1 << 30);
    id = writer->id();
    writer->write(base::random_bytes(2 * S3Store::kPartBytes + 1));
  }
  EXPECT_THROW(store_->open(id), ObjectMissing);
  EXPECT_THAT(ids(), testing::IsEmpty());
}

TEST_F(S3StoreTest, TheLimitHolds) {
  const auto writer = store_->create(5);
  writer->write("12345");
  EXPECT_THROW(writer->write("6"), ObjectTooLarge);
}

TEST_F(S3StoreTest, RemovedObjectsAreMissing) {
  const auto stored = put("x");
  EXPECT_TRUE(store_->remove(stored.id));
  EXPECT_FALSE(store_->remove(stored.id));
  EXPECT_THROW(store_->open(stored.id), ObjectMissing);
  EXPECT_THROW(store_->open("../" + stored.id), ObjectMissing);
}

TEST_F(S3StoreTest, AListGoesOnBeyondAPage) {
  std::set<std::string> made;
  for (int i = 0; i < 1'003; ++i) made.insert(put("x").id);
  EXPECT_EQ(ids(), made);
}

TEST_F(S3StoreTest, WhatPassesIsTriedAgain) {
  for (const char* mode : {"500", "503", "cut", "lost", "silent"}) {
    SCOPED_TRACE(mode);
    const std::string content = base::random_bytes(100'000);
    fault(mode, 1);
    const auto stored = put(content);
    fault(mode, 1);  // of the look at its size
    EXPECT_TRUE(get(stored.id) == content);
    const auto reader = store_->open(stored.id);
    fault(mode, 1);  // of the bytes
    std::string got(content.size(), '\0');
    EXPECT_EQ(reader->read(0, got.data(), got.size()), content.size());
    EXPECT_TRUE(got == content);
    fault("none", 0);
  }
}

TEST_F(S3StoreTest, AnUploadInPartsBearsFaultsAtEachOfItsRequests) {
  const std::string content = base::random_bytes(2 * S3Store::kPartBytes + 1);
  const auto writer = store_->create(content.size());
  const std::string_view data(content);
  for (std::size_t at = 0; at < data.size(); at += 1 << 20) {
    if (at % S3Store::kPartBytes == 0) fault("lost", 1);
    writer->write(data.substr(at, 1 << 20));
  }
  fault("lost", 1);  // of the last part; then of the answer that completes it
  const auto stored = writer->commit();
  EXPECT_TRUE(get(stored.id) == content);
}

TEST_F(S3StoreTest, ALostAnswerOfTheCompletionIsFoundOut) {
  const std::string content = base::random_bytes(2 * S3Store::kPartBytes);
  const auto writer = store_->create(content.size());
  writer->write(content);  // the second part is full and not sent yet
  fault("lost", 2);
  EXPECT_TRUE(get(writer->commit().id) == content);
}

TEST_F(S3StoreTest, WhatDoesNotPassEndsInUnavailable) {
  for (const char* mode : {"500", "503", "lost"}) {
    SCOPED_TRACE(mode);
    const auto stored = put("content");
    fault(mode, -1);
    EXPECT_THROW(put("more"), StorageUnavailable);
    EXPECT_THROW(store_->open(stored.id), StorageUnavailable);
    EXPECT_THROW(store_->remove(stored.id), StorageUnavailable);
    EXPECT_FALSE(store_->writable());
    fault("none", 0);
    EXPECT_EQ(get(stored.id), "content");
  }
}

TEST_F(S3StoreTest, SilenceHasAnEnd) {
  options_.tries = 2;
  S3Store store(options_);
  fault("silent", -1);
  const auto began = std::chrono::steady_clock::now();
  EXPECT_THROW(store.open(make_object_id()), StorageUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
}

TEST_F(S3StoreTest, ABitTurnedOnTheWayIsNoticed) {
  fault("flip", -1);
  EXPECT_THROW(put("content"), StorageUnavailable);
  fault("none", 0);
}

TEST_F(S3StoreTest, ARefusalIsNotTriedAgain) {
  options_.secret_access_key = "wrong";
  S3Store store(options_);
  try {
    store.open(make_object_id());
    FAIL() << "signed by a wrong key";
  } catch (const StorageUnavailable& error) {
    EXPECT_THAT(error.detail, testing::HasSubstr("403"));
    EXPECT_THAT(error.detail, testing::Not(testing::HasSubstr("wrong")));
  }
}

TEST_F(S3StoreTest, OptionsAreChecked) {
  const auto refused = [&](auto change) {
    S3Options options = options_;
    change(options);
    EXPECT_THROW(S3Client{options}, base::ConfigError);
  };
  refused([](S3Options& o) { o.endpoint = "s3.example.org"; });
  refused([](S3Options& o) { o.endpoint = "https://s3.example.org/path"; });
  refused([](S3Options& o) { o.bucket = ""; });
  refused([](S3Options& o) { o.bucket = "a/b"; });
  refused([](S3Options& o) { o.prefix = "no-slash"; });
  refused([](S3Options& o) { o.region = ""; });
  refused([](S3Options& o) { o.secret_access_key = ""; });
}

}  // namespace
}  // namespace finetuned::objects
