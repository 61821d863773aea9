#include "storage/export_store.h"
#include "storage/model_store.h"
#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::ExportLeases;

class ModelExportsTest : public AdminTest {
 protected:
  void SetUp() override {
    pool().transact(Scope::system(), [](Transaction& tx) { tx.execute("DELETE FROM model_export"); });
    file_ = make_counted_file(pool(), tenant_.project, base_, {10});
    model_ = make_model();
  }
  std::string make_model() {
    const auto job = new_job(tenant_.project, base_, file_);
    const std::string name = "ft:" + base_.name + ":acme::" + job.id.substr(6, 8);
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("INSERT INTO job (id, project_id, organization_id, model, base_model, state, training_file, hyperparameters,"
                 " method, seed) VALUES ($1, $2, $3, $4, $4, 'validating_files', $5, '{}', '{}', 1)",
                 {job.id, job.project_id, job.organization_id, base_.name, file_.id});
      storage::ModelStore(tx).add_fine_tuned({.name = name, .project_id = job.project_id, .job_id = job.id,
                                              .base_model = base_.name, .objects = {{"adapter_model.safetensors", "o"}}});
    });
    return name;
  }
  Answer ask(const std::string& format) {
    return send("POST", "/v1/models/" + model_ + "/export", "{\"format\":\"" + format + "\"}");
  }
  std::string path(const std::string& id = "") const { return "/v1/models/" + model_ + "/exports" + (id.empty() ? "" : "/" + id); }
  /// Ends the oldest export as a worker does; returns its file.
  std::string finish_one() {
    return pool().transact(Scope::system(), [&](Transaction& tx) {
      const auto claimed = ExportLeases(tx).claim("test", 60);
      storage::NewFile file{.id = "file-" + claimed->what.id.substr(7), .project_id = claimed->what.project_id,
                            .purpose = "fine-tune-results", .filename = "a.tar", .bytes = 1, .sha256 = std::string(64, 'a'),
                            .object_id = "none", .status = storage::FileStatus::kProcessed};
      EXPECT_TRUE(ExportLeases(tx).finish(*claimed, file));
      return file.id;
    });
  }

  const storage::BaseModel base_ = make_base_model(pool());
  storage::File file_;
  std::string model_;
};

TEST_F(ModelExportsTest, AreQueuedOnceAndEndWithAFile) {
  const Answer made = ask("merged");
  ASSERT_EQ(made.status, 202) << made.body;
  const auto shape = made.json();
  EXPECT_EQ(shape.at("object"), "model.export");
  EXPECT_EQ(text(shape.at("model")), model_);
  EXPECT_EQ(shape.at("format"), "merged");
  EXPECT_EQ(shape.at("status"), "queued");
  for (const char* key : {"file_id", "finished_at", "error"}) EXPECT_TRUE(shape.at(key).is_null()) << key;
  const std::string id = text(shape.at("id"));
  const Answer again = ask("merged");
  EXPECT_EQ(again.status, 200);
  EXPECT_EQ(text(again.json().at("id")), id);
  const std::string other = text(ask("peft").json().at("id"));
  EXPECT_NE(other, id);
  EXPECT_EQ(ids(get(path()).json()), (std::vector<std::string>{other, id}));

  const std::string file = finish_one();
  const auto done = get(path(id)).json();
  EXPECT_EQ(done.at("status"), "done");
  EXPECT_EQ(text(done.at("file_id")), file);
  EXPECT_GT(done.at("finished_at").as_int64(), 0);
  EXPECT_EQ(get("/v1/files/" + file).json().at("purpose"), "fine-tune-results");
  EXPECT_EQ(ask("merged").json().at("status"), "done");

  ASSERT_EQ(send("DELETE", "/v1/files/" + file).status, 200);
  const Answer anew = ask("merged");
  EXPECT_EQ(anew.status, 202) << "its file is gone";
  EXPECT_EQ(text(anew.json().at("id")), id);
  EXPECT_EQ(anew.json().at("status"), "queued");
}

TEST_F(ModelExportsTest, FailedOnesSayWhyAndAreTriedWhenAskedAgain) {
  const std::string id = text(ask("peft").json().at("id"));
  pool().transact(Scope::system(), [&](Transaction& tx) {
    const auto claimed = ExportLeases(tx).claim("test", 60);
    EXPECT_TRUE(ExportLeases(tx).fail(*claimed, "invalid_format", "broken"));
    EXPECT_FALSE(ExportLeases(tx).heartbeat(*claimed, 60)) << "its lease is over";
  });
  const auto failed = get(path(id)).json();
  EXPECT_EQ(failed.at("status"), "failed");
  EXPECT_EQ(failed.at("error").at("code"), "invalid_format");
  EXPECT_EQ(failed.at("error").at("message"), "broken");
  const Answer again = ask("peft");
  EXPECT_EQ(again.status, 202);
  EXPECT_EQ(text(again.json().at("id")), id);
  EXPECT_TRUE(again.json().at("error").is_null());
}

TEST_F(ModelExportsTest, SilentWorkersAreCountedAndThenGivenUp) {
  const std::string id = text(ask("peft").json().at("id"));
  for (int attempt = 0; attempt < ExportLeases::kMostAttempts; ++attempt)
    pool().transact(Scope::system(), [&](Transaction& tx) {
      const auto claimed = ExportLeases(tx).claim("test", 0);
      ASSERT_TRUE(claimed) << attempt;
      EXPECT_EQ(claimed->what.id, id);
      EXPECT_FALSE(ExportLeases(tx).release(*claimed)) << "its lease ran out";
    });
  pool().transact(Scope::system(), [&](Transaction& tx) { EXPECT_FALSE(ExportLeases(tx).claim("test", 60)); });
  EXPECT_EQ(get(path(id)).json().at("error").at("code"), "internal_error");
}

TEST_F(ModelExportsTest, BadRequestsAreRefused) {
  EXPECT_EQ(ask("gguf").code(), "unsupported_format");
  EXPECT_EQ(ask("gguf").status, 400);
  EXPECT_EQ(ask("zip").param(), "format");
  EXPECT_EQ(send("POST", "/v1/models/" + model_ + "/export", "{}").code(), "missing_required_parameter");
  EXPECT_EQ(send("POST", "/v1/models/ft:none/export", R"({"format":"peft"})").code(), "model_not_found");
  EXPECT_EQ(send("POST", "/v1/models/" + base_.name + "/export", R"({"format":"peft"})").code(), "model_not_owned");
  EXPECT_EQ(get(path("export-none")).code(), "export_not_found");
  for (int i = 0; i < storage::kMostUnfinishedExports; ++i) {
    model_ = make_model();
    ASSERT_EQ(ask("peft").status, 202) << i;
  }
  model_ = make_model();
  const Answer full = ask("peft");
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.code(), "too_many_exports");
  EXPECT_TRUE(get(path()).json().at("data").as_array().empty());
}

TEST_F(ModelExportsTest, AreTheModelsOwnProjectsAlone) {
  const std::string id = text(ask("peft").json().at("id"));
  const Tenant stranger = make_tenant();
  EXPECT_EQ(send_as(stranger.key, "POST", "/v1/models/" + model_ + "/export", R"({"format":"peft"})").status, 404);
  EXPECT_EQ(send_as(stranger.key, "GET", path()).status, 404);
  EXPECT_EQ(send_as(stranger.key, "GET", path(id)).status, 404);
  const std::string second = text(done("POST", "/projects", R"({"name":"second"})").at("id"));
  const std::string key =
      text(done("POST", "/projects/" + second + "/service_accounts", R"({"name":"robot"})").at("api_key").at("value"));
  ASSERT_EQ(send_as(tenant_.admin_key, "POST", "/v1/fine_tuning/checkpoints/" + model_ + "/permissions",
                    "{\"project_ids\":[\"" + second + "\"]}").status, 200);
  const Answer refused = send_as(key, "POST", "/v1/models/" + model_ + "/export", R"({"format":"peft"})");
  EXPECT_EQ(refused.status, 403) << "it may use the model, not take it away";
  EXPECT_EQ(refused.code(), "model_not_owned");
}

}  // namespace
}  // namespace finetuned::tests
