#include "storage/donation_evidence.h"

#include <stdexcept>

#include "storage/removal_store.h"

namespace finetuned::storage {

namespace {

constexpr char kAdd[] =
    "INSERT INTO donated_evidence (stretch_id, job_id, project_id, kind, step, trained_tokens, sha256, object_id)"
    " SELECT s.id, s.job_id, s.project_id, $2, $3, $4, $5, $6 FROM donated_stretch s JOIN job j ON j.id = s.job_id"
    " WHERE s.id = $1 AND ($6::text IS NULL OR j.state_object = $6) ON CONFLICT DO NOTHING";
constexpr char kOther[] =
    "SELECT 1 FROM donated_evidence WHERE stretch_id = $1 AND kind = $2 AND step = $3 AND sha256 <> $4";
constexpr char kTooMany[] =
    "SELECT s.id, s.job_id FROM donated_stretch s JOIN donated_evidence e ON e.stretch_id = s.id AND e.object_id IS NOT NULL"
    " WHERE s.decided_at IS NULL GROUP BY s.id, s.job_id HAVING count(*) > $1 ORDER BY count(*) DESC LIMIT 1";
constexpr char kByLot[] =
    "SELECT object_id FROM donated_evidence WHERE stretch_id = $1 AND object_id IS NOT NULL ORDER BY gen_random_uuid() OFFSET $2";

Evidence::Kind kind_of(const std::string& text) {
  if (text == "state") return Evidence::Kind::kState;
  return text == "checkpoint" ? Evidence::Kind::kCheckpoint : Evidence::Kind::kResult;
}

}  // namespace

std::string to_string(Evidence::Kind kind) {
  switch (kind) {
    case Evidence::Kind::kState: return "state";
    case Evidence::Kind::kCheckpoint: return "checkpoint";
    default: return "result";
  }
}

void DonationEvidence::add(const std::string& stretch_id, const Evidence& said) {
  const std::string kind = to_string(said.kind);
  tx_.execute(kAdd, {stretch_id, kind, said.step, said.trained_tokens, said.sha256, said.object_id});
  if (!tx_.execute(kOther, {stretch_id, kind, said.step, said.sha256}).empty())
    throw std::runtime_error("this worker has said before that another " + kind + " came of step " + std::to_string(said.step));
}

void DonationEvidence::set_layout(const std::string& stretch_id, const RunLayout& layout) {
  tx_.execute("UPDATE donated_stretch SET micro_batch_tokens = $2, recompute = $3 WHERE id = $1 AND micro_batch_tokens IS NULL",
              {stretch_id, layout.micro_batch_tokens, layout.recompute});
}

void DonationEvidence::begin_anew(const std::string& stretch_id) {
  tx_.execute("UPDATE donated_stretch SET first_step = 0, first_tokens = 0, first_object = NULL, micro_batch_tokens = NULL,"
              " recompute = NULL WHERE id = $1", {stretch_id});
}

std::vector<Evidence> DonationEvidence::of(const std::string& stretch_id) {
  const auto rows = tx_.execute(
      "SELECT kind, step, trained_tokens, sha256, object_id FROM donated_evidence WHERE stretch_id = $1 ORDER BY step, kind", {stretch_id});
  std::vector<Evidence> all;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    all.push_back({kind_of(row.text("kind")), row.integer("step"), row.integer("trained_tokens"), row.text("sha256"), row.maybe_text("object_id")});
  }
  return all;
}

/// What the job still goes on from is its own to remove.
void DonationEvidence::drop(const std::string& stretch_id, const std::string& job_id, const std::vector<std::string>& objects) {
  tx_.execute("UPDATE donated_evidence SET object_id = NULL WHERE stretch_id = $1 AND object_id = ANY ($2::text[])",
              {stretch_id, postgres::Value::texts(objects)});
  const auto job = tx_.execute("SELECT project_id, state_object FROM job WHERE id = $1", {job_id});
  for (const std::string& object : objects)
    if (job.row(0).maybe_text("state_object") != object) RemovalStore(tx_).add(job.row(0).text("project_id"), object);
}

void DonationEvidence::drop_states(const std::string& stretch_id, std::int64_t but_for) {
  const auto rows = tx_.execute("SELECT object_id, job_id FROM donated_evidence WHERE stretch_id = $1 AND object_id IS NOT NULL AND step <> $2",
                                {stretch_id, but_for});
  std::vector<std::string> objects;
  for (std::size_t i = 0; i < rows.size(); ++i) objects.push_back(rows.row(i).text("object_id"));
  if (!objects.empty()) drop(stretch_id, rows.row(0).text("job_id"), objects);
}

void DonationEvidence::let_go(const std::string& stretch_id) {
  drop_states(stretch_id, -1);
  const auto first = tx_.execute(
      "SELECT s.first_object, j.project_id FROM donated_stretch s JOIN job j ON j.id = s.job_id"
      " WHERE s.id = $1 AND s.first_object IS DISTINCT FROM j.state_object", {stretch_id});
  if (first.empty()) return;
  if (const auto object = first.row(0).maybe_text("first_object")) RemovalStore(tx_).add(first.row(0).text("project_id"), *object);
}

bool DonationEvidence::thin() {
  const auto most = tx_.execute(kTooMany, {kMostStates});
  if (most.empty()) return false;
  const std::string stretch = most.row(0).text("id"), job = most.row(0).text("job_id");
  tx_.execute("SELECT FROM job WHERE id = $1 FOR NO KEY UPDATE", {job});
  const auto rows = tx_.execute(kByLot, {stretch, kMostStates});
  std::vector<std::string> objects;
  for (std::size_t i = 0; i < rows.size(); ++i) objects.push_back(rows.row(i).text("object_id"));
  drop(stretch, job, objects);
  return true;
}

}  // namespace finetuned::storage
