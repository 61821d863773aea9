#include <algorithm>
#include <boost/json/serialize.hpp>
#include <chrono>

#include "base/errors.h"
#include "base/ids.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "services/gateway/slots.h"
#include "storage/job_store.h"
#include "storage/key_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kPause{750};  // between two looks at a job: an event is told within it
constexpr std::chrono::seconds kSilence{15};  // after which a comment shows that the stream lives
constexpr int kEventsAtOnce = 100;
constexpr std::size_t kMostOfProject = 32, kMostOfAll = 256;  // streams of this process

base::ApiError too_many() {
  return {429, "invalid_request_error", "too_many_streams",
          "Too many event streams are open: " + std::to_string(kMostOfProject) + " for a project at most; close one, or poll the events.",
          std::nullopt, true};
}

std::string server_sent(const std::string& name, const std::string& id, const json::object& data) {
  return (id.empty() ? "" : "id: " + id + "\n") + "event: " + name + "\ndata: " + json::serialize(data) + "\n\n";
}

/// A job's events as they happen, then the job itself, and the end.
class JobStream final : public LiveBody {
 public:
  JobStream(const Platform& platform, const Principal& principal, std::string job, std::optional<std::string> after,
            Slots::Slot of_project, Slots::Slot of_all)
      : platform_(platform), project_(principal.project_id), key_(principal.key_id), job_(std::move(job)), after_(std::move(after)),
        of_project_(std::move(of_project)), of_all_(std::move(of_all)) {}

  std::optional<std::string> read() override {
    if (ended_) return std::nullopt;
    std::string text;
    if (!std::exchange(begun_, true)) text = "retry: 2000\n\n";
    text += news();
    const auto now = std::chrono::steady_clock::now();
    if (!text.empty()) {
      spoke_ = now;
    } else if (now - spoke_ >= kSilence) {
      spoke_ = now;
      text = ": waiting\n\n";
    }
    return text;
  }

  Wait wait() const override { return {.at_most = kPause}; }
  bool ends_on_drain() const override { return true; }

 private:
  /// One transaction: whether the key still opens the project, and what is new since. The cache of keys is not asked: what
  /// it remembers and this pause together are longer than a revoked key may be good for. The state is read before the
  /// events: what an ended job has to tell is there by then.
  std::string news() {
    const storage::PageRequest request{.after = after_, .limit = kEventsAtOnce, .ascending = true};
    bool key_lives = false;
    std::optional<storage::Job> job;
    const auto events = platform_.database.transact(Scope::project(project_), [&](Transaction& tx) {
      storage::JobStore jobs(tx);
      key_lives = storage::KeyStore(tx).lives(key_);
      job = key_lives ? jobs.find(job_) : std::nullopt;
      return job ? jobs.list_events(job_, request) : storage::Page<storage::Event>();
    });
    ended_ = !job || (is_terminal(job->state) && !events.has_more);
    if (!key_lives) return server_sent("error", "", {{"code", "invalid_api_key"}, {"message", "The API key was revoked."}});
    std::string text;
    for (const storage::Event& event : events.data) text += server_sent("fine_tuning.job.event", event.id, event_shape(event));
    if (!events.data.empty()) after_ = events.data.back().id;
    if (ended_ && job) text += server_sent("fine_tuning.job", "", job_shape(*job)) + "data: [DONE]\n\n";
    return text;
  }

  const Platform& platform_;
  const std::string project_, key_, job_;
  std::optional<std::string> after_;
  const Slots::Slot of_project_, of_all_;
  bool begun_ = false, ended_ = false;
  std::chrono::steady_clock::time_point spoke_ = std::chrono::steady_clock::now();
};

/// `Last-Event-ID`, as browsers send it, or `after`: the last event that the client has seen.
std::optional<std::string> last_seen(const Request& request) {
  auto seen = request.header("last-event-id");
  if (!seen || seen->empty()) seen = request.query_value("after");
  if (!seen || seen->empty()) return std::nullopt;
  return std::string(*seen);
}

}  // namespace

void add_job_stream_route(Router& router, const Platform& platform) {
  struct Streams {
    Slots of_project{kMostOfProject}, of_all{kMostOfAll};
  };
  const auto streams = std::make_shared<Streams>();
  router.add("GET", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/stream", Access::kProject,
             [&platform, streams](const Request& request) {
               const std::string& project = request.principal.project_id;
               const std::string& id = request.params.at(0);
               const auto after = last_seen(request);
               platform.database.transact(Scope::project(project), [&](Transaction& tx) {
                 storage::JobStore jobs(tx);
                 if (!base::is_id(id, "ftjob") || !jobs.find(id)) throw no_such_job(id);
                 jobs.list_events(id, {.after = after, .limit = 0, .ascending = true});  // refuses an event that is not the job's
               });
               auto of_project = streams->of_project.take(project);
               auto of_all = streams->of_all.take("");
               if (!of_project || !of_all) throw too_many();
               Response response;
               response.headers = {{"content-type", "text/event-stream; charset=utf-8"}, {"cache-control", "no-cache"}};
               response.live = std::make_unique<JobStream>(platform, request.principal, id, after, std::move(*of_project),
                                                           std::move(*of_all));
               return response;
             });
}

}  // namespace finetuned::gateway
