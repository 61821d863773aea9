#include "billing/forecast.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <queue>
#include <tuple>

#include "base/expects.h"

namespace finetuned::billing {

namespace {

using storage::QueueView;

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kSecondsOfPriority = 3'600;

/// Plays claims through, seconds from the view's moment on.
class Play {
 public:
  explicit Play(const QueueView& view) : view_(view) {
    for (const auto& [id, project] : view.projects)
      queues_.push_back({&id, &project, project.lead, project.running, 0});
    for (std::size_t lane = 0; lane < view.lanes.size(); ++lane) {
      const bool idle = view.lanes[lane].project_id.empty();
      busy_.push({idle ? 0 : view.lanes[lane].seconds_left.value_or(kNever), lane, idle ? nullptr : queue_of(view.lanes[lane].project_id)});
    }
  }

  std::unordered_map<std::string, Forecast> all() {
    while (!busy_.empty()) {
      const Busy next = busy_.top();
      busy_.pop();
      if (next.queue) --next.queue->running;
      idle_.push_back(next.lane);
      while (!idle_.empty()) {
        Queue* queue = next_queue(true);
        if (!queue) break;
        start(*queue, next.until);
      }
    }
    while (Queue* queue = next_queue(false)) place(*queue, kNever, kNever);  // nobody works, or the quota is 0
    return std::move(forecasts_);
  }

 private:
  struct Queue {
    const std::string* id;
    const QueueView::Project* project;
    double tag;
    std::int64_t running;
    std::size_t begun;  ///< of `waiting`
  };
  struct Busy {
    double until;
    std::size_t lane;
    Queue* queue;  ///< whose run it is
    bool operator<(const Busy& other) const { return std::tie(until, lane) > std::tie(other.until, other.lane); }
  };

  Queue* queue_of(const std::string& project) {
    const auto found = std::find_if(queues_.begin(), queues_.end(), [&](const Queue& queue) { return *queue.id == project; });
    return found == queues_.end() ? nullptr : &*found;
  }

  static bool full(const Queue& queue) {
    return queue.project->most_running && queue.running >= *queue.project->most_running;
  }

  Queue* next_queue(bool only_allowed) {
    Queue* best = nullptr;
    const auto turn = [this](const Queue& queue) {
      const QueueView::Waiting& first = queue.project->waiting[queue.begun];
      return std::tuple(std::max(queue.tag, clock_), queue.tag, first.queued_at, first.seq);
    };
    for (Queue& queue : queues_) {
      if (queue.begun == queue.project->waiting.size() || (only_allowed && full(queue))) continue;
      if (!best || turn(queue) < turn(*best)) best = &queue;
    }
    return best;
  }

  void start(Queue& queue, double at) {
    const QueueView::Waiting& job = queue.project->waiting[queue.begun];
    const std::size_t lane = idle_.back();
    idle_.pop_back();
    const auto speed = view_.speed(job.base_model, view_.lanes[lane].device);
    const double until = speed ? at + static_cast<double>(job.tokens) / *speed : kNever;
    place(queue, at, until);
    ++queue.running;
    busy_.push({until, lane, &queue});
  }

  void place(Queue& queue, double at, double until) {
    const QueueView::Waiting& job = queue.project->waiting[queue.begun];
    Forecast forecast;
    forecast.position = static_cast<std::int64_t>(forecasts_.size()) + 1;
    forecast.reason = reason(queue);
    if (at < kNever) forecast.start = static_cast<std::int64_t>(std::ceil(view_.now + at));
    if (until < kNever) forecast.finish = static_cast<std::int64_t>(std::ceil(view_.now + until));
    forecasts_[job.job_id] = forecast;
    clock_ = std::max(clock_, queue.tag);
    queue.tag = clock_ + static_cast<double>(job.tokens) / static_cast<double>(queue.project->weight);
    ++queue.begun;
  }

  /// As things stand before any of it is played.
  WaitReason reason(const Queue& queue) const {
    const QueueView::Project& project = *queue.project;
    if (view_.lanes.empty()) return WaitReason::kNoWorkerAlive;
    if (project.most_running && project.running >= *project.most_running) return WaitReason::kRunningJobsQuota;
    if (queue.begun > 0) return WaitReason::kBehindOwnJobs;
    const bool passed = std::any_of(queues_.begin(), queues_.end(), [&](const Queue& other) {
      return &other != &queue && !other.project->waiting.empty() && std::max(other.project->lead, 0.0) < project.lead;
    });
    return passed ? WaitReason::kProjectOverShare : WaitReason::kWaitingForWorker;
  }

  const QueueView& view_;
  std::vector<Queue> queues_;
  std::priority_queue<Busy> busy_;
  std::vector<std::size_t> idle_;
  double clock_ = 0;
  std::unordered_map<std::string, Forecast> forecasts_;
};

}  // namespace

std::string to_string(WaitReason reason) {
  switch (reason) {
    case WaitReason::kNoWorkerAlive: return "no_worker_alive";
    case WaitReason::kRunningJobsQuota: return "running_jobs_quota";
    case WaitReason::kBehindOwnJobs: return "behind_own_jobs";
    case WaitReason::kProjectOverShare: return "project_over_share";
    case WaitReason::kWaitingForWorker: return "waiting_for_worker";
  }
  return "waiting_for_worker";
}

std::string Forecast::message() const {
  const std::string ahead = position == 1 ? "It starts next."
                            : position == 2 ? "One job starts before it."
                                            : std::to_string(position - 1) + " jobs start before it.";
  switch (reason) {
    case WaitReason::kNoWorkerAlive: return "No worker is up; the job starts once one is. " + ahead;
    case WaitReason::kRunningJobsQuota:
      return "The project has all the running jobs that its quota running_jobs allows; the job starts after one of them ends.";
    case WaitReason::kBehindOwnJobs: return "Jobs of the same project come first. " + ahead;
    case WaitReason::kProjectOverShare:
      return "The project has had its share of the workers; projects that have had less come first. " + ahead;
    case WaitReason::kWaitingForWorker: return "It waits for a worker. " + ahead;
  }
  return ahead;
}

std::unordered_map<std::string, Forecast> forecast(QueueView view) { return Play(view).all(); }

Forecast forecast_new(QueueView view, const std::string& project_id, const std::string& base_model, std::int64_t tokens,
                      int priority) {
  const auto project = view.projects.find(project_id);
  base::expects(project != view.projects.end(), "a new job's project is in the view");
  std::vector<QueueView::Waiting>& waiting = project->second.waiting;
  const QueueView::Waiting job{"", base_model, std::max<std::int64_t>(1, tokens), view.now, view.now - priority * kSecondsOfPriority,
                               std::numeric_limits<std::int64_t>::max()};
  const auto behind = [&](const QueueView::Waiting& other) { return other.turn_at > job.turn_at; };
  waiting.insert(std::find_if(waiting.begin(), waiting.end(), behind), job);
  return forecast(std::move(view)).at("");
}

}  // namespace finetuned::billing
