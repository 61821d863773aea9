#include "storage/removal_store.h"
#include "tests/integration/storage/jobs_fixture.h"

namespace finetuned {
namespace {

using storage::RemovalStore;
using storage::SavedState;

class PausedJobs : public Jobs {
 protected:
  std::optional<storage::Job> pause(const std::string& id) {
    return pool().transact(Scope::project(project.id), [&](Transaction& tx) { return JobStore(tx).request_pause(id); });
  }
  std::optional<storage::Job> resume(const std::string& id) {
    return pool().transact(Scope::project(project.id), [&](Transaction& tx) { return JobStore(tx).resume(id); });
  }
  std::optional<storage::Job> cancel(const std::string& id) {
    return pool().transact(Scope::project(project.id), [&](Transaction& tx) { return JobStore(tx).request_cancel(id); });
  }
  std::optional<JobState> release(const JobLease& lease, const std::optional<SavedState>& saved = std::nullopt) {
    return pool().transact(Scope::project(project.id), [&](Transaction& tx) { return JobLeases(tx).release(lease, saved); });
  }
  /// A state that is being written, as a worker announces it.
  SavedState written(const std::string& object, std::int64_t step) {
    pool().transact(Scope::project(project.id), [&](Transaction& tx) { RemovalStore(tx).add(project.id, object, 3'600); });
    return {object, step, step * 10};
  }
  bool to_be_removed(const std::string& object) {
    return system([&](Transaction& tx) {
      return tx.execute("SELECT FROM object_removal WHERE object_id = $1 AND due_at <= clock_timestamp()", {object}).size() == 1;
    });
  }
  bool on_the_list(const std::string& object) {
    return system([&](Transaction& tx) {
      return tx.execute("SELECT FROM object_removal WHERE object_id = $1", {object}).size() == 1;
    });
  }
  std::int64_t outbox_rows(const std::string& id) {
    return system([&](Transaction& tx) {
      return tx.execute("SELECT count(*) AS told FROM outbox WHERE payload = $1", {id}).row(0).integer("told");
    });
  }
  std::vector<std::string> messages(const std::string& id) {
    std::vector<std::string> texts;
    const auto page = pool().transact(Scope::project(project.id), [&](Transaction& tx) {
      return JobStore(tx).list_events(id, {.after = std::nullopt, .limit = 100, .ascending = true});
    });
    for (const auto& event : page.data) texts.push_back(event.message);
    return texts;
  }
  std::vector<storage::SweptJob> sweep(int most_attempts = 3) {
    return system([&](Transaction& tx) { return JobLeases(tx).sweep(most_attempts, 100); });
  }
};

TEST_F(PausedJobs, AQueuedJobPausesAtOnceAndNoWorkerGetsIt) {
  const auto id = queue_job();
  EXPECT_EQ(pause(id)->state, JobState::kPaused);
  EXPECT_FALSE(system([](Transaction& tx) { return JobLeases(tx).claim("worker", 30); }));
  EXPECT_TRUE(system([](Transaction& tx) { return JobStore(tx).queued_ids(10); }).empty());
  EXPECT_EQ(pause(id)->state, JobState::kPaused);  // again: nothing
  EXPECT_EQ(messages(id), (std::vector<std::string>{"The job is paused"}));
}

TEST_F(PausedJobs, AResumedJobWaitsBehindTheOthersAndIsToldOnce) {
  const auto first = queue_job();
  pause(first);
  const auto second = queue_job();
  const auto before = outbox_rows(first);
  EXPECT_EQ(resume(first)->state, JobState::kQueued);
  EXPECT_EQ(resume(first)->state, JobState::kQueued);  // again: nothing
  EXPECT_EQ(outbox_rows(first), before + 1);
  EXPECT_EQ(messages(first), (std::vector<std::string>{"The job is paused", "The job is queued again"}));
  EXPECT_EQ(claim().job_id, second);
  EXPECT_EQ(claim().job_id, first);
}

TEST_F(PausedJobs, AWorkerHearsOfAPauseAndLaysTheJobAside) {
  const auto id = queue_job();
  const auto lease = claim();
  EXPECT_EQ(pause(id)->state, JobState::kRunning);
  EXPECT_EQ(pause(id)->state, JobState::kRunning);  // again: nothing
  EXPECT_EQ(messages(id).size(), 1u);
  const auto beat = system([&](Transaction& tx) { return JobLeases(tx).heartbeat(lease, 30); });
  EXPECT_TRUE(beat.held);
  EXPECT_TRUE(beat.pause_requested);
  EXPECT_FALSE(beat.cancel_requested);
  EXPECT_TRUE(system([&](Transaction& tx) { return JobLeases(tx).peek(lease); }).pause_requested);
  const auto told = outbox_rows(id);
  EXPECT_EQ(release(lease, written("state-1", 4)), JobState::kPaused);
  const auto paused = find(id);
  EXPECT_EQ(paused.state, JobState::kPaused);
  EXPECT_EQ(paused.attempts, 0);
  EXPECT_EQ(paused.step, 4);
  EXPECT_FALSE(paused.pause_requested);
  EXPECT_EQ(paused.saved->object_id, "state-1");
  EXPECT_EQ(outbox_rows(id), told);
  EXPECT_FALSE(on_the_list("state-1"));
  EXPECT_FALSE(release(lease, std::nullopt));  // it is no longer the worker's
}

TEST_F(PausedJobs, TheNextClaimHasWhatTheJobGoesOnFrom) {
  const auto id = queue_job();
  EXPECT_EQ(release(claim(), written("state-2", 7)), JobState::kQueued);
  const auto claimed = system([](Transaction& tx) { return JobLeases(tx).claim("another", 30); });
  ASSERT_TRUE(claimed);
  ASSERT_TRUE(claimed->job.saved);
  EXPECT_EQ(claimed->job.saved->object_id, "state-2");
  EXPECT_EQ(claimed->job.step, 7);
  EXPECT_EQ(claimed->job.trained_tokens, 70);
  EXPECT_EQ(claimed->job.attempts, 0);
}

TEST_F(PausedJobs, ALaterStateTakesTheEarlierOnesPlaceAndNoneLeavesIt) {
  const auto id = queue_job();
  release(claim(), written("state-3", 2));
  release(claim(), std::nullopt);
  EXPECT_EQ(find(id).saved->object_id, "state-3");
  EXPECT_EQ(find(id).step, 2);
  EXPECT_FALSE(on_the_list("state-3"));
  release(claim(), written("state-4", 5));
  EXPECT_EQ(find(id).saved->object_id, "state-4");
  EXPECT_TRUE(to_be_removed("state-3"));
  EXPECT_FALSE(on_the_list("state-4"));
}

TEST_F(PausedJobs, CrashesCountFromTheFurthestState) {
  const auto id = queue_job();
  const auto crash = [&] {
    expire(id);
    sweep();
    return find(id);
  };
  const auto save = [&](const JobLease& lease, const SavedState& state) {
    return pool().transact(Scope::project(project.id), [&](Transaction& tx) { return JobLeases(tx).save_state(lease, state); });
  };
  claim();
  EXPECT_EQ(crash().attempts, 1);
  EXPECT_TRUE(save(claim(), written("state-10", 3)));
  EXPECT_EQ(crash().attempts, 1);
  EXPECT_TRUE(save(claim(), written("state-11", 3)));  // no further than before
  EXPECT_EQ(crash().attempts, 2);
  release(claim(), written("state-12", 4));
  EXPECT_EQ(find(id).attempts, 0);
}

TEST_F(PausedJobs, AStateWhoseObjectIsGoneAlreadyIsNone) {
  const auto id = queue_job();
  release(claim(), written("state-5", 2));
  EXPECT_EQ(release(claim(), SavedState{"state-swept", 5, 50}), JobState::kQueued);
  EXPECT_EQ(find(id).saved->object_id, "state-5");
  EXPECT_EQ(find(id).step, 2);
  EXPECT_FALSE(on_the_list("state-5"));
}

TEST_F(PausedJobs, AStaleWorkersStateIsLeftToTheRemovals) {
  const auto id = queue_job();
  const auto stale = claim();
  expire(id);
  sweep();
  claim();
  EXPECT_FALSE(release(stale, written("state-stale", 9)));
  EXPECT_FALSE(find(id).saved);
  EXPECT_TRUE(on_the_list("state-stale"));
}

TEST_F(PausedJobs, APauseThatIsTakenBackInTheLastMomentQueuesTheJob) {
  const auto id = queue_job();
  const auto lease = claim();
  pause(id);
  EXPECT_EQ(resume(id)->state, JobState::kRunning);
  EXPECT_FALSE(system([&](Transaction& tx) { return JobLeases(tx).peek(lease); }).pause_requested);
  const auto told = outbox_rows(id);
  EXPECT_EQ(release(lease), JobState::kQueued);
  EXPECT_EQ(outbox_rows(id), told + 1);
}

TEST_F(PausedJobs, APauseAskedForWhileTheWorkerShutsDownIsNotLost) {
  const auto id = queue_job();
  const auto lease = claim();
  pause(id);  // after the worker's last look
  EXPECT_EQ(release(lease), JobState::kPaused);
}

TEST_F(PausedJobs, ACancelBeatsAPauseHoweverLateItComes) {
  const auto id = queue_job();
  const auto lease = claim();
  pause(id);
  EXPECT_TRUE(cancel(id)->cancel_requested);
  EXPECT_TRUE(resume(id)->pause_requested);  // a job that is being cancelled stays as it is
  EXPECT_EQ(release(lease, written("state-6", 3)), JobState::kCancelled);
  const auto done = find(id);
  EXPECT_EQ(done.state, JobState::kCancelled);
  EXPECT_TRUE(done.finished_at);
  EXPECT_FALSE(done.trained_tokens);  // the bill's, which the settlement writes
}

TEST_F(PausedJobs, ACancelThatIsAskedForKeepsAPauseAway) {
  const auto id = queue_job();
  claim();
  cancel(id);
  EXPECT_FALSE(pause(id)->pause_requested);
}

TEST_F(PausedJobs, APausedJobIsCancelledAtOnceAndItsStateForgotten) {
  const auto id = queue_job();
  const auto lease = claim();
  pause(id);
  release(lease, written("state-7", 3));
  EXPECT_EQ(cancel(id)->state, JobState::kCancelled);
  EXPECT_EQ(messages(id).back(), "The job was cancelled");
  EXPECT_FALSE(find(id).trained_tokens);
  EXPECT_EQ(resume(id)->state, JobState::kCancelled);
  EXPECT_EQ(pause(id)->state, JobState::kCancelled);
  EXPECT_GE(system([](Transaction& tx) { return JobStore(tx).drop_states_of_ended(100); }), 1);
  EXPECT_FALSE(find(id).saved);
  EXPECT_TRUE(to_be_removed("state-7"));
}

TEST_F(PausedJobs, StatesOfJobsThatGoOnAreKept) {
  const auto id = queue_job();
  release(claim(), written("state-8", 3));
  system([](Transaction& tx) { return JobStore(tx).drop_states_of_ended(100); });
  EXPECT_EQ(find(id).saved->object_id, "state-8");
  pause(id);
  system([](Transaction& tx) { return JobStore(tx).drop_states_of_ended(100); });
  EXPECT_EQ(find(id).saved->object_id, "state-8");
}

TEST_F(PausedJobs, AJobWhoseWorkerDiesWhilePausingIsPausedAtItsLastState) {
  const auto id = queue_job();
  release(claim(), written("state-9", 3));
  const auto lease = claim();
  system([&](Transaction& tx) { JobLeases(tx).set_progress(lease, 8, 10, 80, std::nullopt); });
  pause(id);
  expire(id);
  const auto swept = sweep();
  ASSERT_EQ(swept.size(), 1u);
  EXPECT_EQ(swept[0].state, JobState::kPaused);
  const auto paused = find(id);
  EXPECT_EQ(paused.state, JobState::kPaused);
  EXPECT_FALSE(paused.pause_requested);
  EXPECT_EQ(paused.attempts, 1);
  EXPECT_EQ(paused.step, 3);
  EXPECT_EQ(paused.trained_tokens, 30);
  EXPECT_EQ(paused.saved->object_id, "state-9");
  EXPECT_FALSE(paused.finished_at);
  EXPECT_EQ(resume(id)->state, JobState::kQueued);
}

TEST_F(PausedJobs, TheLastCrashFailsTheJobThoughAPauseWasAskedFor) {
  const auto id = queue_job();
  claim();
  pause(id);
  expire(id);
  EXPECT_EQ(sweep(1)[0].state, JobState::kFailed);
}

TEST_F(PausedJobs, AJobThatWaitsForItsFilesOrIsNoneIsNotPaused) {
  const auto job = tests::new_job(project, model, file);
  pool().transact(Scope::project(project.id), [&](Transaction& tx) { JobStore(tx).insert(job); });
  EXPECT_EQ(pause(job.id)->state, JobState::kValidatingFiles);
  EXPECT_EQ(resume(job.id)->state, JobState::kValidatingFiles);
  EXPECT_TRUE(messages(job.id).empty());
  EXPECT_FALSE(pause("ftjob-none"));
  EXPECT_FALSE(resume("ftjob-none"));
}

TEST_F(PausedJobs, AnotherProjectPausesNothing) {
  const auto id = queue_job();
  const auto other = tests::make_project(pool());
  pool().transact(Scope::project(other.id), [&](Transaction& tx) {
    EXPECT_FALSE(JobStore(tx).request_pause(id));
    EXPECT_FALSE(JobStore(tx).resume(id));
  });
  EXPECT_EQ(find(id).state, JobState::kQueued);
}

}  // namespace
}  // namespace finetuned
