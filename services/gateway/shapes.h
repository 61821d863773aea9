#pragma once

#include <string>

#include "base/errors.h"
#include "base/json.h"
#include "storage/file_store.h"
#include "storage/job.h"
#include "storage/model_store.h"
#include "storage/upload_store.h"

namespace finetuned::gateway {

/// Rows as the API's objects. Every nullable key is present.

base::json::object file_shape(const storage::File& file);
base::json::object job_shape(const storage::Job& job);
base::json::object event_shape(const storage::Event& event);
base::json::object checkpoint_shape(const storage::Checkpoint& checkpoint);
base::json::object base_model_shape(const storage::BaseModel& model);
base::json::object fine_tuned_model_shape(const storage::FineTunedModel& model, const std::string& owner);
/// `file` is null before the upload is completed, and once its file is gone.
base::json::object upload_shape(const storage::Upload& upload, const std::optional<storage::File>& file);
base::json::object upload_part_shape(const storage::UploadPart& part);
/// {"id","object","deleted":true}
base::json::object deleted_shape(const std::string& id, const std::string& object);

/// 404 `model_not_found`, also for another project's.
base::ApiError no_such_model(const std::string& name);
/// 404 `fine_tune_not_found`, also for another project's.
base::ApiError no_such_job(const std::string& id);

/// The value, or null.
template <class T>
base::json::value or_null(const std::optional<T>& maybe) {
  if (maybe) return base::json::value(*maybe);
  return nullptr;
}

}  // namespace finetuned::gateway
