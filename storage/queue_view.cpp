#include "storage/queue_view.h"

#include "storage/worker_store.h"

namespace finetuned::storage {

namespace {

constexpr char kWaiting[] =
    "SELECT id, project_id, base_model, greatest(1, quoted_tokens - coalesce(state_tokens, 0)) AS tokens, seq,"
    " extract(epoch FROM queued_at)::double precision AS queued_at, extract(epoch FROM turn_at)::double precision AS turn_at"
    " FROM job WHERE state = 'queued' ORDER BY turn_at, seq LIMIT $1";
constexpr char kProjects[] =
    "SELECT p.id, coalesce(q.share_weight, 1) AS weight, q.running_jobs,"
    " (coalesce(s.tag, 0) - c.tag)::double precision AS lead FROM project p CROSS JOIN share_clock c"
    " LEFT JOIN project_share s ON s.project_id = p.id LEFT JOIN project_quota q ON q.project_id = p.id"
    " WHERE p.id = $1 OR p.id IN (SELECT project_id FROM job WHERE state IN ('queued', 'running'))";
constexpr char kRunning[] =
    "SELECT project_id, base_model, coalesce(worker, '') AS worker,"
    " greatest(0, coalesce(quoted_tokens, 0) - coalesce(trained_tokens, 0)) AS tokens, estimated_finish IS NOT NULL AS known,"
    " coalesce(extract(epoch FROM estimated_finish - clock_timestamp()), 0)::double precision AS seconds"
    " FROM job WHERE state = 'running'";
constexpr char kSpeeds[] = "SELECT base_model, device, tokens / seconds AS speed FROM training_speed";

void read_projects(postgres::Transaction& tx, const std::optional<std::string>& project_id, QueueView& view) {
  const auto rows = tx.execute(kProjects, {project_id});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    QueueView::Project& project = view.projects[row.text("id")];
    project.weight = row.integer("weight");
    project.most_running = row.maybe_integer("running_jobs");
    project.lead = row.real("lead");
  }
}

void read_waiting(postgres::Transaction& tx, QueueView& view) {
  const auto rows = tx.execute(kWaiting, {kMostViewed});
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    const auto project = view.projects.find(row.text("project_id"));
    if (project == view.projects.end()) continue;  // came since its project was looked for
    project->second.waiting.push_back({row.text("id"), row.text("base_model"), row.integer("tokens"), row.real("queued_at"),
                                       row.real("turn_at"), row.integer("seq")});
  }
}

/// A lane each run, and each worker that lives, has none and may have one.
void read_lanes(postgres::Transaction& tx, QueueView& view) {
  std::map<std::string, std::string> devices;
  for (const WorkerRow& worker : WorkerStore(tx).list()) {
    devices[worker.name] = worker.device;
    if (worker.alive && worker.gets_jobs && !worker.job_id) view.lanes.push_back({worker.device, "", std::nullopt});
  }
  const auto rows = tx.execute(kRunning);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    QueueView::Lane lane{devices[row.text("worker")], row.text("project_id"), std::nullopt};
    if (row.boolean("known")) lane.seconds_left = std::max(0.0, row.real("seconds"));
    else if (const auto speed = view.speed(row.text("base_model"), lane.device))
      lane.seconds_left = static_cast<double>(row.integer("tokens")) / *speed;
    const auto project = view.projects.find(lane.project_id);
    if (project != view.projects.end()) ++project->second.running;
    view.lanes.push_back(std::move(lane));
  }
}

}  // namespace

std::optional<double> QueueView::speed(const std::string& base_model, const std::string& device) const {
  const auto found = tokens_per_second.find({base_model, device});
  if (found != tokens_per_second.end()) return found->second;
  double sum = 0;
  int devices = 0;
  for (auto at = tokens_per_second.lower_bound({base_model, ""}); at != tokens_per_second.end() && at->first.first == base_model; ++at)
    sum += at->second, ++devices;
  if (devices == 0) return std::nullopt;
  return sum / devices;
}

QueueView read_queue(postgres::Transaction& tx, const std::optional<std::string>& project_id) {
  QueueView view;
  view.now = tx.execute("SELECT extract(epoch FROM clock_timestamp())::double precision AS now").row(0).real("now");
  const auto speeds = tx.execute(kSpeeds);
  for (std::size_t i = 0; i < speeds.size(); ++i)
    view.tokens_per_second[{speeds.row(i).text("base_model"), speeds.row(i).text("device")}] = speeds.row(i).real("speed");
  read_projects(tx, project_id, view);
  read_waiting(tx, view);
  read_lanes(tx, view);
  return view;
}

}  // namespace finetuned::storage
