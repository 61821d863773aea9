#include "services/gateway/job_bodies.h"

#include <gtest/gtest.h>

namespace finetuned::gateway {
namespace {

const JobBodies::Time kNow{std::chrono::seconds(100)};

JobBodies::Body body(const std::string& version, const std::string& text) {
  return {version, kNow + std::chrono::seconds(2), std::make_shared<const std::string>(text)};
}

TEST(JobBodies, AreOfOneVersionAndOneTime) {
  JobBodies bodies;
  EXPECT_EQ(bodies.find("a", "1", kNow), nullptr);
  bodies.keep("a", body("1", "one"));
  ASSERT_NE(bodies.find("a", "1", kNow), nullptr);
  EXPECT_EQ(*bodies.find("a", "1", kNow), "one");
  EXPECT_EQ(bodies.find("a", "2", kNow), nullptr) << "the row is another";
  EXPECT_EQ(bodies.find("b", "1", kNow), nullptr);
  EXPECT_NE(bodies.find("a", "1", kNow + std::chrono::milliseconds(1999)), nullptr);
  EXPECT_EQ(bodies.find("a", "1", kNow + std::chrono::seconds(2)), nullptr) << "its place in the queue may be another";
}

TEST(JobBodies, ALaterVersionTakesThePlace) {
  JobBodies bodies;
  bodies.keep("a", body("1", "one"));
  bodies.keep("a", body("2", "two"));
  EXPECT_EQ(bodies.find("a", "1", kNow), nullptr);
  EXPECT_EQ(*bodies.find("a", "2", kNow), "two");
}

TEST(JobBodies, AreBounded) {
  JobBodies bodies;
  const std::string large(JobBodies::kMostBytes / 4, 'x');
  for (int again = 0; again < 10; ++again) bodies.keep("same", body(std::to_string(again), large));
  for (const char* id : {"a", "b"}) bodies.keep(id, body("1", large));
  for (const char* id : {"same", "a", "b"}) EXPECT_NE(bodies.find(id, id == std::string("same") ? "9" : "1", kNow), nullptr) << id;
  bodies.keep("c", body("1", large));
  EXPECT_EQ(bodies.find("a", "1", kNow), nullptr) << "it begins anew";
  EXPECT_NE(bodies.find("c", "1", kNow), nullptr);
  bodies.keep("huge", body("1", std::string(JobBodies::kMostBytes, 'x')));
  EXPECT_EQ(bodies.find("huge", "1", kNow), nullptr);
}

}  // namespace
}  // namespace finetuned::gateway
