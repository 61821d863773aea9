#include <gtest/gtest.h>

#include <thread>

#include "base/ids.h"
#include "base/sha256.h"
#include "storage/job_store.h"
#include "storage/removal_store.h"
#include "storage/upload_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned {
namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::RemovalStore;
using storage::UploadStatus;
using storage::UploadStore;
using tests::pool;

std::string object_id() { return base::sha256_hex(base::random_bytes(16)).substr(0, 32); }

class UploadStoreTest : public testing::Test {
 protected:
  template <class Work>
  auto in_project(Work work) {
    return pool().transact(Scope::project(project_.id), [&](Transaction& tx) { return work(tx); });
  }

  storage::Upload create(std::int64_t bytes = 10) {
    storage::NewUpload upload;
    upload.id = base::make_id("upload");
    upload.project_id = project_.id;
    upload.purpose = "fine-tune";
    upload.filename = "a.jsonl";
    upload.mime_type = "text/jsonl";
    upload.bytes = bytes;
    return in_project([&](Transaction& tx) { return UploadStore(tx).create(upload); });
  }
  storage::UploadPart add_part(const std::string& upload_id, std::int64_t bytes) {
    storage::UploadPart part;
    part.id = base::make_id("part");
    part.upload_id = upload_id;
    part.bytes = bytes;
    part.object_id = object_id();
    in_project([&](Transaction& tx) { UploadStore(tx).begin_part(upload_id, part.object_id); });
    return in_project([&](Transaction& tx) { return UploadStore(tx).add_part(part); });
  }
  storage::Completion begin(const std::string& id, const std::vector<std::string>& parts, const std::string& object,
                            std::int64_t seconds = 60) {
    return in_project([&](Transaction& tx) { return UploadStore(tx).begin_completion(id, parts, object, seconds); });
  }
  std::optional<storage::Upload> complete(const storage::Completion& completion, const std::vector<std::string>& parts,
                                          const std::string& object) {
    storage::NewFile file;
    file.id = base::make_id("file");
    file.project_id = project_.id;
    file.purpose = "fine-tune";
    file.filename = "a.jsonl";
    file.bytes = completion.upload.bytes;
    file.sha256 = base::sha256_hex(file.id);
    file.object_id = object;
    return in_project([&](Transaction& tx) { return UploadStore(tx).complete(completion.lease, parts, file); });
  }
  template <class Work>
  std::string code_of(Work work) {
    try {
      work();
    } catch (const base::ApiError& error) {
      return error.code;
    }
    return "accepted";
  }
  void alter(const std::string& id, const std::string& change) {
    pool().transact(Scope::system(), [&](Transaction& tx) { tx.execute("UPDATE upload SET " + change + " WHERE id = $1", {id}); });
  }
  bool to_be_removed(const std::string& object) {
    return pool().transact(Scope::system(), [&](Transaction& tx) {
      return !tx.execute("SELECT 1 AS one FROM object_removal WHERE object_id = $1 AND due_at <= clock_timestamp()", {object}).empty();
    });
  }

  storage::Project project_ = tests::make_project(pool());
};

TEST_F(UploadStoreTest, PartsBecomeAFileInOneCommit) {
  const auto upload = create();
  EXPECT_EQ(upload.expires_at - upload.created_at, 3600);
  const auto a = add_part(upload.id, 6), b = add_part(upload.id, 4);
  const std::string object = object_id();
  const auto completion = begin(upload.id, {b.id, a.id}, object);
  EXPECT_EQ(completion.objects, (std::vector<std::string>{b.object_id, a.object_id}));
  const auto done = complete(completion, {b.id, a.id}, object);
  ASSERT_TRUE(done && done->file_id);
  EXPECT_EQ(done->status, UploadStatus::kCompleted);
  EXPECT_TRUE(to_be_removed(a.object_id) && to_be_removed(b.object_id));
  EXPECT_FALSE(in_project([&](Transaction& tx) { return RemovalStore(tx).keep(object); })) << "the file's is not on the list";
  EXPECT_EQ(in_project([&](Transaction& tx) { return storage::FileStore(tx).find(*done->file_id); })->object_id, object);
  EXPECT_EQ(begin(upload.id, {b.id, a.id}, object_id()).upload.file_id, done->file_id) << "the same request again";
  EXPECT_EQ(code_of([&] { begin(upload.id, {a.id, b.id}, object_id()); }), "upload_not_pending") << "another order";
}

TEST_F(UploadStoreTest, OnlyTheLeaseHolderCompletes) {
  const auto upload = create();
  const auto part = add_part(upload.id, 10);
  const std::string first_object = object_id(), second_object = object_id();
  const auto first = begin(upload.id, {part.id}, first_object);
  EXPECT_EQ(code_of([&] { begin(upload.id, {part.id}, second_object); }), "upload_in_completion");
  alter(upload.id, "completing_until = clock_timestamp() - interval '1 s'");  // its process died
  const auto second = begin(upload.id, {part.id}, second_object);
  EXPECT_FALSE(in_project([&](Transaction& tx) { return UploadStore(tx).extend(first.lease, 60); }));
  EXPECT_TRUE(in_project([&](Transaction& tx) { return UploadStore(tx).extend(second.lease, 60); }));
  EXPECT_FALSE(complete(first, {part.id}, first_object)) << "it came back to life";
  EXPECT_TRUE(complete(second, {part.id}, second_object));
  EXPECT_EQ(in_project([&](Transaction& tx) { return storage::FileStore(tx).list(project_.id, std::nullopt, {}); }).data.size(), 1u);
}

TEST_F(UploadStoreTest, AGivenUpCompletionCanBeBegunAtOnce) {
  const auto upload = create();
  const auto part = add_part(upload.id, 10);
  const std::string object = object_id();
  const auto completion = begin(upload.id, {part.id}, object);
  EXPECT_FALSE(to_be_removed(object)) << "it is being written";
  in_project([&](Transaction& tx) { UploadStore(tx).give_up(completion.lease, object); });
  EXPECT_TRUE(to_be_removed(object));
  EXPECT_EQ(begin(upload.id, {part.id}, object_id()).objects.size(), 1u);
}

TEST_F(UploadStoreTest, AnObjectThatIsGoingIsNotKept) {
  const auto upload = create();
  const auto part = add_part(upload.id, 10);
  const std::string object = object_id();
  const auto completion = begin(upload.id, {part.id}, object);
  in_project([&](Transaction& tx) { RemovalStore(tx).removed({object}); });
  EXPECT_FALSE(complete(completion, {part.id}, object));
  EXPECT_EQ(in_project([&](Transaction& tx) { return UploadStore(tx).find(upload.id); })->status, UploadStatus::kPending);
}

TEST_F(UploadStoreTest, CancellingWinsOverACompletionUnderWay) {
  const auto upload = create();
  const auto part = add_part(upload.id, 10);
  const std::string object = object_id();
  const auto completion = begin(upload.id, {part.id}, object);
  EXPECT_EQ(in_project([&](Transaction& tx) { return UploadStore(tx).cancel(upload.id); }).status, UploadStatus::kCancelled);
  EXPECT_EQ(code_of([&] { complete(completion, {part.id}, object); }), "upload_not_pending");
  EXPECT_TRUE(to_be_removed(part.object_id));
}

TEST_F(UploadStoreTest, ExpiryIsSeenBeforeTheSweepAndWaitsForACompletion) {
  const auto upload = create();
  const auto part = add_part(upload.id, 10);
  const std::string object = object_id();
  const auto completion = begin(upload.id, {part.id}, object);
  alter(upload.id, "created_at = created_at - interval '2 h', expires_at = clock_timestamp() - interval '1 s'");
  const auto expire = [] {
    return pool().transact(Scope::system(), [](Transaction& tx) { return UploadStore(tx).expire(100); });
  };
  EXPECT_TRUE(expire().empty()) << "it is being completed";
  in_project([&](Transaction& tx) { UploadStore(tx).give_up(completion.lease, object); });
  EXPECT_EQ(in_project([&](Transaction& tx) { return UploadStore(tx).find(upload.id); })->status, UploadStatus::kExpired);
  EXPECT_EQ(code_of([&] { add_part(upload.id, 1); }), "upload_not_pending");
  EXPECT_EQ(code_of([&] { begin(upload.id, {part.id}, object_id()); }), "upload_not_pending");
  EXPECT_FALSE(to_be_removed(part.object_id));
  EXPECT_EQ(expire(), std::vector<std::string>{upload.id});
  EXPECT_TRUE(to_be_removed(part.object_id));
  EXPECT_TRUE(expire().empty());
}

TEST_F(UploadStoreTest, BoundsHold) {
  const auto upload = create(1);
  for (int i = 0; i < 16; ++i) add_part(upload.id, storage::kMostPartBytes);  // 1 GB to spare
  add_part(upload.id, 1);
  EXPECT_EQ(code_of([&] { add_part(upload.id, 1); }), "too_many_parts");
  const auto another = create();
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("INSERT INTO upload_part (id, upload_id, project_id, bytes, object_id)"
               " SELECT 'part-' || md5($1 || n), $1, $2, 1, md5($1 || n) FROM generate_series(1, 10000) AS n",
               {another.id, project_.id});
  });
  EXPECT_EQ(code_of([&] { add_part(another.id, 1); }), "too_many_parts");
  for (int i = 2; i < storage::kMostPendingUploads; ++i) create();
  EXPECT_EQ(code_of([&] { create(); }), "too_many_uploads");
  in_project([&](Transaction& tx) { UploadStore(tx).cancel(another.id); });
  create();
}

TEST_F(UploadStoreTest, AnotherProjectSeesNoneOfIt) {
  const auto upload = create();
  const auto part = add_part(upload.id, 10);
  project_ = tests::make_project(pool());
  EXPECT_FALSE(in_project([&](Transaction& tx) { return UploadStore(tx).find(upload.id); }));
  EXPECT_FALSE(in_project([&](Transaction& tx) { return UploadStore(tx).find_part(part.id); }));
  EXPECT_EQ(code_of([&] { add_part(upload.id, 1); }), "upload_not_found");
  EXPECT_EQ(code_of([&] { begin(upload.id, {part.id}, object_id()); }), "upload_not_found");
  EXPECT_EQ(code_of([&] { in_project([&](Transaction& tx) { UploadStore(tx).cancel(upload.id); }); }), "upload_not_found");
  EXPECT_FALSE(in_project([&](Transaction& tx) { return RemovalStore(tx).keep(part.object_id); }));
}

TEST(RemovalStore, EachDueObjectGoesToOne) {
  const auto project = tests::make_project(pool());
  const std::string now = object_id(), later = object_id();
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("DELETE FROM object_removal");  // other tests'
    RemovalStore(tx).add(project.id, now);
    RemovalStore(tx).add(project.id, later, 60);
  });
  pool().transact(Scope::system(), [&](Transaction& tx) {
    EXPECT_EQ(RemovalStore(tx).take_due(10), std::vector<std::string>{now});
    std::jthread([&] {
      pool().transact(Scope::system(), [](Transaction& other) { EXPECT_TRUE(RemovalStore(other).take_due(10).empty()); });
    }).join();
    RemovalStore(tx).postpone({now}, 60);
  });
  pool().transact(Scope::system(), [&](Transaction& tx) {
    EXPECT_TRUE(RemovalStore(tx).take_due(10).empty());
    EXPECT_TRUE(RemovalStore(tx).keep(now));
    EXPECT_FALSE(RemovalStore(tx).keep(now));
    RemovalStore(tx).add(project.id, later, -1);
    EXPECT_EQ(RemovalStore(tx).take_due(10), std::vector<std::string>{later});
    RemovalStore(tx).removed({later});
    EXPECT_TRUE(RemovalStore(tx).take_due(10).empty());
  });
}

class FileExpiryTest : public testing::Test {
 protected:
  void expire(const std::string& id, const std::string& ago) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE file SET expires_at = clock_timestamp() - $2::interval WHERE id = $1", {id, ago});
    });
  }
  std::vector<std::string> sweep(int most = 100) {
    return pool().transact(Scope::system(), [&](Transaction& tx) { return storage::FileStore(tx).remove_expired(most); });
  }
  storage::Project project_ = tests::make_project(pool());
};

TEST_F(FileExpiryTest, AnExpiredFileIsAbsentAtOnceAndDeletedAMinuteLater) {
  const auto file = tests::make_file(pool(), project_);
  const auto stays = tests::make_file(pool(), project_);
  expire(file.id, "1 s");
  EXPECT_TRUE(sweep().empty()) << "a request may have found it just now";
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    storage::FileStore files(tx);
    EXPECT_FALSE(files.find(file.id));
    EXPECT_TRUE(files.find_even_expired(file.id));
    EXPECT_FALSE(files.remove(file.id));
    EXPECT_EQ(files.list(project_.id, std::nullopt, {}).data.size(), 1u);
    EXPECT_EQ(files.total_bytes(project_.id), stays.bytes);
  });
  expire(file.id, "61 s");
  EXPECT_EQ(sweep(), std::vector<std::string>{file.id});
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    EXPECT_FALSE(storage::FileStore(tx).find_even_expired(file.id));
    EXPECT_TRUE(storage::FileStore(tx).find_even_deleted(file.id));
    EXPECT_TRUE(RemovalStore(tx).keep(file.object_id)) << "its object was on the list";
  });
  EXPECT_TRUE(sweep().empty());
}

TEST_F(FileExpiryTest, AFileOfAnUnfinishedJobStaysUntilItsEndAndHoldsUpNoOther) {
  const auto model = tests::make_base_model(pool());
  const auto training = tests::make_file(pool(), project_), validation = tests::make_file(pool(), project_);
  auto job = tests::new_job(project_, model, training);
  job.validation_file = validation.id;
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) { storage::JobStore(tx).insert(job); });
  const auto free = tests::make_file(pool(), project_);
  for (const std::string& id : {training.id, validation.id}) expire(id, "2 h");
  expire(free.id, "1 h");
  EXPECT_EQ(sweep(1), std::vector<std::string>{free.id});
  EXPECT_TRUE(sweep().empty());
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) { storage::JobStore(tx).request_cancel(job.id); });
  EXPECT_EQ(sweep().size(), 2u);
}

TEST_F(FileExpiryTest, AnObjectThatAnotherFileNamesStays) {
  const auto file = tests::make_file(pool(), project_), other = tests::make_file(pool(), project_);
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE file SET object_id = $2 WHERE id = $1", {other.id, file.object_id});
  });
  expire(file.id, "2 min");
  EXPECT_EQ(sweep().size(), 1u);
  pool().transact(Scope::system(), [&](Transaction& tx) { EXPECT_FALSE(RemovalStore(tx).keep(file.object_id)); });
}

}  // namespace
}  // namespace finetuned
