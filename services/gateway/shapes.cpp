#include "services/gateway/shapes.h"

#include <boost/json/array.hpp>

namespace finetuned::gateway {

namespace json = base::json;

json::object file_shape(const storage::File& file) {
  json::object shape;
  shape["object"] = "file";
  shape["id"] = file.id;
  shape["purpose"] = file.purpose;
  shape["filename"] = file.filename;
  shape["bytes"] = file.bytes;
  shape["created_at"] = file.created_at;
  if (file.expires_at) shape["expires_at"] = *file.expires_at;
  shape["status"] = to_string(file.status);
  if (file.status_details) shape["status_details"] = *file.status_details;
  return shape;
}

json::object job_shape(const storage::Job& job) {
  json::object shape;
  shape["object"] = "fine_tuning.job";
  shape["id"] = job.id;
  shape["model"] = job.model;
  shape["created_at"] = job.created_at;
  shape["finished_at"] = or_null(job.finished_at);
  shape["fine_tuned_model"] = or_null(job.fine_tuned_model);
  shape["organization_id"] = job.organization_id;
  shape["result_files"] = json::array(job.result_files.begin(), job.result_files.end());
  shape["status"] = to_string(job.state);
  shape["validation_file"] = or_null(job.validation_file);
  shape["training_file"] = job.training_file;
  shape["hyperparameters"] = job.hyperparameters;
  // While a job runs, its tokens so far are in its events: the field is the bill's, and is null until the end.
  shape["trained_tokens"] = is_terminal(job.state) ? or_null(job.trained_tokens) : json::value(nullptr);
  shape["error"] = nullptr;
  if (job.error) {
    json::object error;
    error["code"] = job.error->code;
    error["message"] = job.error->message;
    error["param"] = or_null(job.error->param);
    shape["error"] = std::move(error);
  }
  shape["user_provided_suffix"] = or_null(job.suffix);
  shape["seed"] = job.seed;
  shape["estimated_finish"] = or_null(job.estimated_finish);
  shape["integrations"] = job.integrations.is_null() ? json::value(json::array()) : job.integrations;
  shape["metadata"] = job.metadata;
  shape["method"] = job.method;
  shape["payment"] = to_string(job.payment);
  if (job.storage_pause)
    shape["pause"] = {{"reason", "storage_unavailable"},
                      {"message", "The platform's storage is unavailable. The job goes on by itself; its hold stays."},
                      {"since", job.storage_pause->since},
                      {"retry_at", job.storage_pause->retry_at}};
  return shape;
}

json::object event_shape(const storage::Event& event) {
  json::object shape;
  shape["object"] = "fine_tuning.job.event";
  shape["id"] = event.id;
  shape["created_at"] = event.created_at;
  shape["level"] = to_string(event.level);
  shape["message"] = event.message;
  shape["type"] = event.is_metrics ? "metrics" : "message";
  shape["data"] = event.data.is_object() ? event.data : json::value(json::object());
  return shape;
}

json::object checkpoint_shape(const storage::Checkpoint& checkpoint) {
  json::object shape;
  shape["object"] = "fine_tuning.job.checkpoint";
  shape["id"] = checkpoint.id;
  shape["created_at"] = checkpoint.created_at;
  shape["fine_tuned_model_checkpoint"] = checkpoint.model_name;
  shape["fine_tuning_job_id"] = checkpoint.job_id;
  shape["metrics"] = checkpoint.metrics;
  shape["step_number"] = checkpoint.step;
  return shape;
}

json::object base_model_shape(const storage::BaseModel& model) {
  json::object shape;
  shape["id"] = model.name;
  shape["object"] = "model";
  shape["created"] = model.created_at;
  shape["owned_by"] = "system";
  shape["shutdown_date"] = nullptr;
  return shape;
}

json::object fine_tuned_model_shape(const storage::FineTunedModel& model, const std::string& owner) {
  json::object shape;
  shape["id"] = model.name;
  shape["object"] = "model";
  shape["created"] = model.created_at;
  shape["owned_by"] = owner;
  shape["shutdown_date"] = nullptr;
  return shape;
}

json::object upload_shape(const storage::Upload& upload, const std::optional<storage::File>& file) {
  json::object shape;
  shape["object"] = "upload";
  shape["id"] = upload.id;
  shape["created_at"] = upload.created_at;
  shape["filename"] = upload.filename;
  shape["bytes"] = upload.bytes;
  shape["purpose"] = upload.purpose;
  shape["status"] = to_string(upload.status);
  shape["expires_at"] = upload.expires_at;
  shape["file"] = file ? json::value(file_shape(*file)) : json::value(nullptr);
  return shape;
}

json::object upload_part_shape(const storage::UploadPart& part) {
  json::object shape;
  shape["object"] = "upload.part";
  shape["id"] = part.id;
  shape["created_at"] = part.created_at;
  shape["upload_id"] = part.upload_id;
  return shape;
}

json::object deleted_shape(const std::string& id, const std::string& object) {
  json::object shape;
  shape["id"] = id;
  shape["object"] = object;
  shape["deleted"] = true;
  return shape;
}

base::ApiError no_such_model(const std::string& name) {
  return {404, "invalid_request_error", "model_not_found",
          "The model `" + name + "` does not exist or you do not have access to it.", "model"};
}

base::ApiError no_such_job(const std::string& id) {
  return {404, "invalid_request_error", "fine_tune_not_found", "Could not find fine tune: " + id, "fine_tuning_job_id"};
}

}  // namespace finetuned::gateway
