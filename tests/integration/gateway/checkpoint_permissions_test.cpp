#include "storage/model_store.h"
#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

using postgres::Scope;
using postgres::Transaction;

/// A model and a checkpoint of the tenant's project, and a second project of its organization.
class CheckpointPermissionsTest : public AdminTest {
 protected:
  void SetUp() override {
    const auto base_model = make_base_model(pool());
    const auto file = make_counted_file(pool(), tenant_.project, base_model, {10, 10});
    const auto job = new_job(tenant_.project, base_model, file);
    base_ = base_model.name;
    job_ = job.id;
    model_ = "ft:" + base_ + ":acme:suffix:" + job.id.substr(6, 8);
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("INSERT INTO job (id, project_id, organization_id, model, base_model, state, training_file, hyperparameters,"
                 " method, seed) VALUES ($1, $2, $3, $4, $4, 'validating_files', $5, '{}', '{}', 1)",
                 {job.id, job.project_id, job.organization_id, base_, file.id});
      tx.execute("INSERT INTO job_checkpoint (id, job_id, project_id, step, trained_tokens, model_name, metrics, objects, sha256)"
                 " VALUES ($1, $2, $3, 5, 50, $4, '{}', '{\"adapter_model.safetensors\": \"o5\"}', $5::jsonb)",
                 {"ftckpt-" + job.id.substr(6), job.id, job.project_id, checkpoint(),
                  "{\"adapter_model.safetensors\": \"" + std::string(64, '5') + "\"}"});
      storage::ModelStore(tx).add_fine_tuned({.name = model_, .project_id = job.project_id, .job_id = job.id,
                                              .base_model = base_, .objects = {{"adapter_model.safetensors", file.object_id}}});
    });
    sha256_ = file.sha256;
    second_ = text(done("POST", "/projects", R"({"name":"second"})").at("id"));
    key_ = text(done("POST", "/projects/" + second_ + "/service_accounts", R"({"name":"robot"})").at("api_key").at("value"));
  }

  std::string checkpoint() const { return model_ + ":ckpt-step-5"; }
  static std::string path(const std::string& model, const std::string& below = "") {
    return "/v1/fine_tuning/checkpoints/" + model + "/permissions" + below;
  }
  Answer ask(const std::string& method, const std::string& where, const std::string& body = "") {
    return send_as(tenant_.admin_key, method, where, body);
  }
  Answer permit(const std::string& model, const std::string& project) {
    return ask("POST", path(model), "{\"project_ids\":[\"" + project + "\"]}");
  }
  std::optional<storage::ServedModel> served(const std::string& project, const std::string& model) {
    return pool().transact(Scope::project(project), [&](Transaction& tx) { return storage::ModelStore(tx).find_served(model); });
  }

  std::string base_, job_, model_, sha256_, second_, key_;
};

TEST_F(CheckpointPermissionsTest, OpenAModelToAProjectUntilTheyAreDeleted) {
  EXPECT_EQ(send_as(key_, "GET", "/v1/models/" + model_).status, 404);
  EXPECT_FALSE(served(second_, model_));
  const Answer made = permit(model_, second_);
  ASSERT_EQ(made.status, 200) << made.body;
  const auto list = made.json();
  EXPECT_EQ(list.at("object"), "list");
  EXPECT_EQ(list.at("has_more"), false);
  const auto& permission = list.at("data").at(0);
  EXPECT_EQ(permission.at("object"), "checkpoint.permission");
  EXPECT_EQ(text(permission.at("project_id")), second_);
  EXPECT_GT(permission.at("created_at").as_int64(), 0);
  const std::string id = text(permission.at("id"));
  EXPECT_EQ(text(list.at("first_id")), id);

  const Answer seen = send_as(key_, "GET", "/v1/models/" + model_);
  ASSERT_EQ(seen.status, 200) << seen.body;
  EXPECT_EQ(text(seen.json().at("owned_by")), tenant_.project.organization_name);
  EXPECT_NE(send_as(key_, "GET", "/v1/models").body.find(model_), std::string::npos);
  const auto usable = served(second_, model_);
  ASSERT_TRUE(usable);
  EXPECT_EQ(usable->base_model, base_);
  EXPECT_EQ(usable->objects.size(), 1u);
  EXPECT_EQ(usable->sha256.at("adapter_model.safetensors"), sha256_);

  const Answer removed = ask("DELETE", path(model_, "/" + id));
  ASSERT_EQ(removed.status, 200) << removed.body;
  EXPECT_EQ(text(removed.json().at("id")), id);
  EXPECT_EQ(removed.json().at("object"), "checkpoint.permission");
  EXPECT_EQ(removed.json().at("deleted"), true);
  EXPECT_EQ(send_as(key_, "GET", "/v1/models/" + model_).status, 404);
  EXPECT_FALSE(served(second_, model_));
  EXPECT_EQ(ask("DELETE", path(model_, "/" + id)).code(), "checkpoint_permission_not_found");
  const auto types = audited();
  EXPECT_EQ(std::count(types.begin(), types.end(), "checkpoint.permission.created"), 1);
  EXPECT_EQ(std::count(types.begin(), types.end(), "checkpoint.permission.deleted"), 1);
}

TEST_F(CheckpointPermissionsTest, OpenNothingElse) {
  ASSERT_EQ(permit(model_, second_).status, 200);
  EXPECT_EQ(send_as(key_, "GET", "/v1/fine_tuning/jobs/" + job_).status, 404);
  EXPECT_FALSE(served(second_, checkpoint())) << "another name than the permitted one";
  const Answer refused = send_as(key_, "DELETE", "/v1/models/" + model_);
  EXPECT_EQ(refused.status, 403) << refused.body;
  EXPECT_EQ(refused.code(), "model_not_owned");
  EXPECT_EQ(get("/v1/models/" + model_).status, 200);
  pool().transact(Scope::project(second_), [&](Transaction& tx) {
    ASSERT_TRUE(storage::ModelStore(tx).find_served(model_));
    EXPECT_EQ(tx.execute("SELECT id FROM file").size(), 0u) << "the look at the model's files ends with it";
    EXPECT_EQ(tx.execute("SELECT id FROM job").size(), 0u);
  });
  const Tenant stranger = make_tenant();
  EXPECT_EQ(send_as(stranger.key, "GET", "/v1/models/" + model_).status, 404);
  EXPECT_FALSE(served(stranger.project.id, model_));
  ASSERT_EQ(send("DELETE", "/v1/models/" + model_).status, 200);
  EXPECT_FALSE(served(second_, model_)) << "deleted by its own project";
  EXPECT_EQ(send_as(key_, "GET", "/v1/models/" + model_).status, 404);
}

TEST_F(CheckpointPermissionsTest, OfACheckpointAreItsOwn) {
  ASSERT_EQ(permit(checkpoint(), second_).status, 200);
  const auto usable = served(second_, checkpoint());
  ASSERT_TRUE(usable);
  EXPECT_EQ(usable->objects.at("adapter_model.safetensors"), "o5");
  EXPECT_EQ(usable->sha256.at("adapter_model.safetensors"), std::string(64, '5'));
  EXPECT_FALSE(served(second_, model_));
}

TEST_F(CheckpointPermissionsTest, AreListedByPagesAndProject) {
  const std::string third = text(done("POST", "/projects", R"({"name":"third"})").at("id"));
  const Answer made = ask("POST", path(model_), "{\"project_ids\":[\"" + second_ + "\",\"" + third + "\"]}");
  ASSERT_EQ(made.status, 200) << made.body;
  const auto both = ids(made.json());
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(ids(permit(model_, second_).json()), std::vector<std::string>{both[0]}) << "sent again it stays the same";
  EXPECT_EQ(ids(ask("GET", path(model_)).json()), (std::vector<std::string>{both[1], both[0]}));
  EXPECT_EQ(ids(ask("GET", path(model_, "?order=ascending&limit=1")).json()), std::vector<std::string>{both[0]});
  EXPECT_EQ(ids(ask("GET", path(model_, "?order=ascending&limit=1&after=" + both[0])).json()),
            std::vector<std::string>{both[1]});
  EXPECT_EQ(ids(ask("GET", path(model_, "?project_id=" + third)).json()), std::vector<std::string>{both[1]});
  EXPECT_EQ(ask("GET", path(model_, "?order=asc")).param(), "order");
  EXPECT_EQ(ask("GET", path(model_, "?after=cp-none")).code(), "invalid_cursor");
}

TEST_F(CheckpointPermissionsTest, RefuseWhatTheOrganizationDoesNotHave) {
  const Tenant stranger = make_tenant();
  EXPECT_EQ(permit("ft:none:acme::12345678", second_).code(), "model_not_found");
  EXPECT_EQ(permit(base_, second_).code(), "model_not_found") << "everyone may use a base model";
  EXPECT_EQ(send_as(stranger.admin_key, "POST", path(model_), "{\"project_ids\":[\"" + stranger.project.id + "\"]}").status, 404);
  EXPECT_EQ(send_as(stranger.admin_key, "GET", path(model_)).status, 404);
  const std::string id = ids(permit(model_, second_).json()).at(0);
  EXPECT_EQ(send_as(stranger.admin_key, "DELETE", path(model_, "/" + id)).status, 404);
  EXPECT_EQ(ask("DELETE", path(checkpoint(), "/" + id)).status, 404) << "another model's";
  EXPECT_EQ(permit(model_, stranger.project.id).code(), "project_not_found");
  EXPECT_EQ(permit(model_, tenant_.project.id).param(), "project_ids");
  for (const char* body : {"{}", R"({"project_ids":[]})", R"({"project_ids":"a"})", R"({"project_ids":null})"}) {
    const Answer answer = ask("POST", path(model_), body);
    EXPECT_EQ(answer.status, 400) << body << answer.body;
    EXPECT_EQ(answer.param(), "project_ids") << body;
  }
  EXPECT_EQ(ask("POST", path(model_), R"({"project_ids":[7]})").param(), "project_ids[0]");
  EXPECT_EQ(send_as(tenant_.key, "GET", path(model_)).status, 403);
  done("POST", "/projects/" + second_ + "/archive");
  EXPECT_EQ(permit(model_, second_).code(), "project_archived");
  EXPECT_EQ(served(second_, model_).has_value(), true);
}

}  // namespace
}  // namespace finetuned::tests
