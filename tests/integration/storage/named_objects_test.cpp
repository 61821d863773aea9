#include "storage/named_objects.h"

#include <algorithm>

#include "base/ids.h"
#include "storage/file_store.h"
#include "storage/removal_store.h"
#include "tests/integration/storage/jobs_fixture.h"

namespace finetuned {
namespace {

using storage::RemovalStore;

class NamedObjects : public Jobs {
 protected:
  std::optional<storage::NamedObject> named(const std::string& object) {
    const auto all = system([](Transaction& tx) { return storage::named_objects(tx); });
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.id == object; });
    if (found == all.end()) return std::nullopt;
    return *found;
  }
  bool known(const std::string& object) {
    return !system([&](Transaction& tx) { return storage::known_objects(tx, {object}); }).empty();
  }
  std::string object_of_training_file(const std::string& job) {
    return system([&](Transaction& tx) {
      return tx.execute("SELECT object_id FROM file JOIN job ON file.id = training_file WHERE job.id = $1", {job}).row(0).text("object_id");
    });
  }
};

TEST_F(NamedObjects, AFileNamesItsObjectUntilItIsDeletedAndNoJobWantsIt) {
  const auto job = queue_job();
  const std::string object = object_of_training_file(job);
  ASSERT_TRUE(named(object));
  EXPECT_TRUE(named(object)->bytes);
  EXPECT_TRUE(named(object)->sha256);
  system([&](Transaction& tx) {
    tx.execute("UPDATE file SET deleted_at = clock_timestamp() WHERE object_id = $1", {object});
    return true;
  });
  EXPECT_TRUE(named(object)) << "its job is not done with it";
  system([&](Transaction& tx) {
    tx.execute("UPDATE job SET state = 'cancelled', finished_at = clock_timestamp() WHERE id = $1", {job});
    return true;
  });
  EXPECT_FALSE(named(object));
  EXPECT_FALSE(known(object));
}

TEST_F(NamedObjects, WhatIsToBeRemovedIsKnownAndNotNamed) {
  const std::string object = "0123456789abcdef0123456789abcdef";
  EXPECT_FALSE(known(object));
  system([&](Transaction& tx) {
    RemovalStore(tx).add(project.id, object, 3'600);
    return true;
  });
  EXPECT_TRUE(known(object));
  EXPECT_FALSE(named(object));
}

TEST_F(NamedObjects, AStateIsNamedWhileItsJobMayGoOn) {
  const auto job = queue_job();
  const std::string object = "00000000000000000000000000000abc";
  system([&](Transaction& tx) {
    tx.execute("UPDATE job SET state_object = $2, state_step = 1, state_tokens = 10 WHERE id = $1", {job, object});
    return true;
  });
  ASSERT_TRUE(named(object));
  EXPECT_EQ(named(object)->named_by, "state of " + job);
}

TEST_F(NamedObjects, WhileRemovalsAreHeldNobodyRemoves) {
  pool().transact(Scope::system(), [&](Transaction& tx) {
    RemovalStore(tx).hold();
    EXPECT_FALSE(system([](Transaction& other) { return RemovalStore(other).may_remove(); }));
  });
  EXPECT_TRUE(system([](Transaction& tx) { return RemovalStore(tx).may_remove(); }));
}

}  // namespace
}  // namespace finetuned
