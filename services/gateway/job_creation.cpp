#include "services/gateway/job_creation.h"

#include <algorithm>
#include <vector>

#include "base/errors.h"
#include "base/ids.h"
#include "services/gateway/hyperparameters.h"
#include "services/gateway/object_calls.h"
#include "storage/file_store.h"
#include "storage/intake_store.h"
#include "storage/model_store.h"
#include "storage/objects/object_store.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::size_t kShownFaults = 3;

base::ApiError absent(const char* code, const std::string& message, const std::string& param) {
  return {404, "invalid_request_error", code, message, param};
}

/// The base model under a model that may be one itself, or the project's own fine-tuned one.
std::string base_of(postgres::Transaction& tx, const std::string& model) {
  storage::ModelStore models(tx);
  if (models.find_base(model)) return model;
  const auto own = models.find_fine_tuned(model);
  if (!own)
    throw absent("model_not_found", "The model `" + model + "` does not exist or you do not have access to it.", "model");
  return own->base_model;
}

std::string first_faults(const std::optional<json::object>& report) {
  std::string text;
  const json::value* faults = report ? report->if_contains("faults") : nullptr;
  if (!faults || !faults->is_array()) return text;
  std::size_t shown = 0;
  for (const json::value& fault : faults->get_array()) {
    const json::object* fields = fault.if_object();
    const json::value* line = fields ? fields->if_contains("line") : nullptr;
    const json::value* message = fields ? fields->if_contains("message") : nullptr;
    if (shown++ == kShownFaults || !message || !message->is_string()) break;
    text += line && line->is_int64() && line->get_int64() > 0 ? " Line " + std::to_string(line->get_int64()) + ": " : " ";
    text += std::string(message->get_string());
    if (!text.ends_with('.')) text += '.';
  }
  return text;
}

storage::File usable_file(postgres::Transaction& tx, const std::string& id, const std::string& param) {
  auto file = base::is_id(id, "file") ? storage::FileStore(tx).find(id) : std::nullopt;
  if (!file) throw absent("file_not_found", "No such File object: " + id, param);
  if (file->purpose != "fine-tune")
    throw base::bad_request("invalid_file_purpose", "File '" + id + "' has the purpose '" + file->purpose +
                                                        "'. Upload it with the purpose 'fine-tune'.", param);
  if (file->status == storage::FileStatus::kError)
    throw base::bad_request("invalid_" + param, "File '" + id + "' was refused when it was checked." +
                                                    first_faults(storage::IntakeStore(tx).report(id)) +
                                                    " All faults: GET /v1/files/" + id + "/report.", param);
  return *file;
}

/// Examples of a file: its lines that hold anything but blanks.
std::int64_t count_lines(objects::ObjectStore& objects, const std::string& object_id) {
  const auto reader = objects.open(object_id);
  std::vector<char> piece(1 << 20);
  std::int64_t lines = 0;
  bool filled = false;
  for (std::uint64_t at = 0; at < reader->size();) {
    const std::size_t got = reader->read(at, piece.data(), piece.size());
    if (got == 0) break;
    at += got;
    for (std::size_t i = 0; i < got; ++i) {
      const char c = piece[i];
      if (c == '\n') {
        lines += filled;
        filled = false;
      } else if (c != ' ' && c != '\t' && c != '\r') {
        filled = true;
      }
    }
  }
  return lines + filled;
}

std::optional<std::int64_t> counted_rows(postgres::Transaction& tx, const std::string& file_id) {
  const auto report = storage::IntakeStore(tx).report(file_id);
  const json::value* rows = report ? report->if_contains("rows") : nullptr;
  if (!rows || !rows->is_int64()) return std::nullopt;
  return rows->get_int64();
}

json::value method_of(const json::object& hyperparameters) {
  json::object supervised;
  supervised["hyperparameters"] = hyperparameters;
  json::object method;
  method["type"] = "supervised";
  method["supervised"] = std::move(supervised);
  return method;
}

std::int64_t random_seed() {
  const std::string bytes = base::random_bytes(4);
  std::uint32_t seed = 0;
  for (const char byte : bytes) seed = seed << 8 | static_cast<unsigned char>(byte);
  return seed & 0x7fffffff;
}

}  // namespace

JobGround ground_of(postgres::Transaction& tx, const JobRequest& request) {
  JobGround ground;
  ground.base_model = base_of(tx, request.model);
  const auto training = usable_file(tx, request.training_file, "training_file");
  if (request.validation_file) usable_file(tx, *request.validation_file, "validation_file");
  ground.training_object = training.object_id;
  if (training.status == storage::FileStatus::kProcessed) ground.rows = counted_rows(tx, training.id);
  return ground;
}

void count_rows(const Platform& platform, const std::string& object_id, Counted counted) {
  auto count = [&objects = platform.objects, object_id] { return count_lines(objects, object_id); };
  platform.object_calls.begin(std::move(count), std::move(counted));
}

storage::NewJob resolve_job(const Principal& principal, const JobRequest& request, const JobGround& ground, std::int64_t rows) {
  const json::object settings = resolve_hyperparameters(request.hyperparameters, std::max<std::int64_t>(1, rows));
  storage::NewJob job;
  job.id = base::make_id("ftjob");
  job.base_model = ground.base_model;
  job.project_id = principal.project_id;
  job.organization_id = principal.organization_id;
  job.model = request.model;
  job.training_file = request.training_file;
  job.validation_file = request.validation_file;
  job.hyperparameters = settings;
  job.method = method_of(settings);
  job.metadata = request.metadata;
  job.integrations = request.integrations;
  job.seed = request.seed ? *request.seed : random_seed();
  job.suffix = request.suffix;
  job.priority = request.priority;
  job.payment = request.payment;
  return job;
}

}  // namespace finetuned::gateway
