#include "billing/forecast.h"

#include <gtest/gtest.h>

namespace finetuned::billing {
namespace {

using storage::QueueView;

/// Jobs of 1,000 tokens on a base that trains 10 a second: 100 s each.
QueueView::Waiting waiting(const std::string& id, double queued_at, const std::string& base = "base") {
  return {id, base, 1'000, queued_at, queued_at, static_cast<std::int64_t>(queued_at)};
}

QueueView view_of(int lanes) {
  QueueView view;
  view.now = 5'000;
  view.tokens_per_second[{"base", "cpu"}] = 10;
  for (int i = 0; i < lanes; ++i) view.lanes.push_back({"cpu", "", std::nullopt});
  return view;
}

TEST(ForecastTest, JobsFollowOneAnotherOnTheWorkers) {
  QueueView view = view_of(2);
  view.projects["a"].waiting = {waiting("a1", 1), waiting("a2", 2), waiting("a3", 3)};
  const auto jobs = forecast(view);
  EXPECT_EQ(jobs.at("a1").start, 5'000);
  EXPECT_EQ(jobs.at("a2").start, 5'000);
  EXPECT_EQ(jobs.at("a3").start, 5'100);
  EXPECT_EQ(jobs.at("a3").finish, 5'200);
  EXPECT_EQ(jobs.at("a3").position, 3);
  EXPECT_EQ(jobs.at("a1").reason, WaitReason::kWaitingForWorker);
  EXPECT_EQ(jobs.at("a3").reason, WaitReason::kBehindOwnJobs);
}

TEST(ForecastTest, RunsThatEndMakeRoomAndFreeTheirQuota) {
  QueueView view = view_of(1);
  view.lanes[0] = {"cpu", "a", 30.0};
  view.projects["a"] = {.weight = 1, .lead = 0, .most_running = 1, .running = 1, .waiting = {waiting("a1", 1)}};
  view.projects["b"].waiting = {waiting("b1", 2)};
  const auto jobs = forecast(view);
  EXPECT_EQ(jobs.at("a1").reason, WaitReason::kRunningJobsQuota);
  EXPECT_EQ(jobs.at("a1").start, 5'030) << "its turn, once the quota is free";
  EXPECT_EQ(jobs.at("b1").start, 5'130);
}

TEST(ForecastTest, AQuotaLeavesAWorkerIdle) {
  QueueView view = view_of(2);
  view.projects["a"] = {.weight = 1, .lead = 0, .most_running = 1, .running = 0, .waiting = {waiting("a1", 1), waiting("a2", 2)}};
  const auto jobs = forecast(view);
  EXPECT_EQ(jobs.at("a1").start, 5'000);
  EXPECT_EQ(jobs.at("a2").start, 5'100);
}

TEST(ForecastTest, AQuotaOfNothingHasAPlaceAndNoTime) {
  QueueView view = view_of(1);
  view.projects["a"] = {.weight = 1, .lead = 0, .most_running = 0, .running = 0, .waiting = {waiting("a1", 1)}};
  EXPECT_EQ(forecast(view).at("a1").position, 1);
  EXPECT_FALSE(forecast(view).at("a1").start);
}

TEST(ForecastTest, WeightsAndLeadsDecideWhoComesFirst) {
  QueueView view = view_of(1);
  view.projects["light"] = {.weight = 1, .lead = 10, .most_running = {}, .running = 0, .waiting = {waiting("l1", 1), waiting("l2", 2)}};
  view.projects["heavy"] = {.weight = 4, .lead = 0, .most_running = {}, .running = 0,
                            .waiting = {waiting("h1", 3), waiting("h2", 4), waiting("h3", 5), waiting("h4", 6), waiting("h5", 7)}};
  const auto jobs = forecast(view);
  EXPECT_EQ(jobs.at("h1").position, 1);
  EXPECT_EQ(jobs.at("l1").position, 2);
  EXPECT_EQ(jobs.at("h5").position, 6);  // at 1,000 of virtual time; l2 at 1,010
  EXPECT_EQ(jobs.at("l2").position, 7);
  EXPECT_EQ(jobs.at("l1").reason, WaitReason::kProjectOverShare);
}

TEST(ForecastTest, WhatWasNeverMeasuredHasNoTimeNorWhatComesBehindIt) {
  QueueView view = view_of(1);
  view.projects["a"].waiting = {waiting("new", 1, "another"), waiting("behind", 2)};
  const auto jobs = forecast(view);
  EXPECT_EQ(jobs.at("new").start, 5'000);
  EXPECT_FALSE(jobs.at("new").finish);
  EXPECT_FALSE(jobs.at("behind").start);
  EXPECT_EQ(jobs.at("behind").position, 2);
}

TEST(ForecastTest, WithoutWorkersThereIsAnOrderOnly) {
  QueueView view = view_of(0);
  view.projects["a"].waiting = {waiting("a1", 1)};
  EXPECT_EQ(forecast(view).at("a1").position, 1);
  EXPECT_EQ(forecast(view).at("a1").reason, WaitReason::kNoWorkerAlive);
  EXPECT_FALSE(forecast(view).at("a1").start);
}

TEST(ForecastTest, ANewJobTakesItsPlaceByPriority) {
  QueueView view = view_of(1);
  view.projects["a"].waiting = {waiting("a1", 4'000), waiting("a2", 4'500)};
  EXPECT_EQ(forecast_new(view, "a", "base", 500, 0).position, 3);
  EXPECT_EQ(forecast_new(view, "a", "base", 500, 1).position, 1);
  EXPECT_EQ(forecast_new(view, "a", "base", 500, -1).position, 3);
  EXPECT_EQ(forecast_new(view, "a", "base", 500, 0).finish, 5'250);
}

}  // namespace
}  // namespace finetuned::billing
