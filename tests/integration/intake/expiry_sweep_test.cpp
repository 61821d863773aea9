#include "services/intake/expiry_sweep.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/ids.h"
#include "storage/job_store.h"
#include "storage/removal_store.h"
#include "storage/upload_store.h"
#include "tests/integration/platform/data_directory.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/platform/tiny_model.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::intake {
namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::UploadStatus;
using storage::UploadStore;
using tests::pool;

class ExpirySweepTest : public testing::Test {
 protected:
  void run_sql(const std::string& sql, const std::vector<postgres::Value>& values = {}) {
    pool().transact(Scope::system(), [&](Transaction& tx) { tx.execute(sql, values); });
  }
  void expire_file(const std::string& id) {
    run_sql("UPDATE file SET expires_at = clock_timestamp() - interval '2 min' WHERE id = $1", {id});
  }
  /// An upload with one part of one byte in the store.
  std::string upload_with_part() {
    storage::NewUpload upload;
    upload.id = base::make_id("upload");
    upload.project_id = project_.id;
    upload.purpose = "fine-tune";
    upload.filename = "a";
    upload.mime_type = "text/jsonl";
    upload.bytes = 1;
    const auto writer = data_.store().create(1);
    writer->write("x");
    storage::UploadPart part;
    part.id = base::make_id("part");
    part.upload_id = upload.id;
    part.bytes = 1;
    part.object_id = writer->commit().id;
    pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      UploadStore(tx).create(upload);
      UploadStore(tx).begin_part(upload.id, part.object_id);
      UploadStore(tx).add_part(part);
    });
    return upload.id;
  }
  bool has_object(const std::string& id) {
    try {
      data_.store().open(id);
      return true;
    } catch (const objects::ObjectMissing&) {
      return false;
    }
  }

  tests::DataDirectory data_;
  storage::Project project_ = tests::make_project(pool());
  ExpirySweep sweep_{pool(), data_.store(), std::chrono::milliseconds(20)};
};

TEST_F(ExpirySweepTest, AnExpiredFileAndItsObjectGo) {
  const auto file = data_.upload(pool(), project_, "{}\n"), stays = data_.upload(pool(), project_, "{}\n");
  expire_file(file.id);
  sweep_.sweep_once();
  EXPECT_FALSE(has_object(file.object_id));
  EXPECT_TRUE(has_object(stays.object_id));
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    EXPECT_FALSE(storage::FileStore(tx).find_even_expired(file.id));
    EXPECT_TRUE(storage::FileStore(tx).find(stays.id));
  });
}

TEST_F(ExpirySweepTest, AFileOfAnUnfinishedJobKeepsItsObject) {
  const auto model = tests::make_base_model(pool());
  const auto file = data_.upload(pool(), project_, "{}\n");
  const auto job = tests::new_job(project_, model, file);
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) { storage::JobStore(tx).insert(job); });
  expire_file(file.id);
  sweep_.sweep_once();
  EXPECT_TRUE(has_object(file.object_id));
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) { storage::JobStore(tx).request_cancel(job.id); });
  sweep_.sweep_once();
  EXPECT_FALSE(has_object(file.object_id));
}

TEST_F(ExpirySweepTest, PartsOfExpiredAndCancelledUploadsGo) {
  const std::string expired = upload_with_part(), cancelled = upload_with_part(), pending = upload_with_part();
  ASSERT_EQ(data_.object_count(), 3);
  run_sql("UPDATE upload SET created_at = created_at - interval '2 h', expires_at = clock_timestamp() WHERE id = $1", {expired});
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) { UploadStore(tx).cancel(cancelled); });
  sweep_.sweep_once();
  EXPECT_EQ(data_.object_count(), 1) << "the pending one's part";
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    EXPECT_EQ(UploadStore(tx).find(expired)->status, UploadStatus::kExpired);
    EXPECT_EQ(UploadStore(tx).find(pending)->status, UploadStatus::kPending);
  });
}

TEST_F(ExpirySweepTest, WhatADeadProcessWroteGoesOnceItIsDue) {
  const auto writer = data_.store().create(1);
  writer->write("x");
  const std::string object = writer->commit().id;  // whole, and no row names it
  pool().transact(Scope::project(project_.id), [&](Transaction& tx) { storage::RemovalStore(tx).add(project_.id, object, 3600); });
  sweep_.sweep_once();
  EXPECT_TRUE(has_object(object));
  run_sql("UPDATE object_removal SET due_at = clock_timestamp() WHERE object_id = $1", {object});
  sweep_.sweep_once();
  EXPECT_FALSE(has_object(object));
}

TEST_F(ExpirySweepTest, MoreThanARoundTakesIsSweptAtOnce) {
  for (int i = 0; i < 150; ++i) {
    if (i % 50 == 0) project_ = tests::make_project(pool());  // one has 100 pending at most
    upload_with_part();
  }
  run_sql("UPDATE upload SET created_at = created_at - interval '2 h', expires_at = clock_timestamp() WHERE status = 'pending'");
  sweep_.sweep_once();
  EXPECT_EQ(data_.object_count(), 0);
}

TEST_F(ExpirySweepTest, ItRunsUntilStopped) {
  std::jthread thread([this](const std::stop_token& stop) { sweep_.run(stop); });
  const auto file = data_.upload(pool(), project_, "{}\n");
  expire_file(file.id);
  EXPECT_TRUE(tests::eventually([&] { return !has_object(file.object_id); }, 5));
}

}  // namespace
}  // namespace finetuned::intake
