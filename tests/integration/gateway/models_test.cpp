#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

class ModelsTest : public GatewayTest {
 protected:
  /// A fine-tuned model of this test's tenant.
  std::string tuned_model() {
    const auto base_model = make_base_model(pool());
    const auto file = make_counted_file(pool(), tenant_.project, base_model, {10, 10});
    storage::FineTunedModel model;
    model.name = "ft:" + base_model.name + ":acme:suffix:12345678";
    model.project_id = tenant_.project.id;
    model.base_model = base_model.name;
    model.objects = {{"adapter_model.safetensors", "ab"}};
    pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
      const auto job = new_job(tenant_.project, base_model, file);
      tx.execute("INSERT INTO job (id, project_id, organization_id, model, base_model, state, training_file, hyperparameters,"
                 " method, seed) VALUES ($1, $2, $3, $4, $4, 'validating_files', $5, '{}', '{}', 1)",
                 {job.id, job.project_id, job.organization_id, job.base_model, file.id});
      model.job_id = job.id;
      storage::ModelStore(tx).add_fine_tuned(model);
    });
    return model.name;
  }
};

TEST_F(ModelsTest, BaseModelsAreForEveryone) {
  const auto base_model = make_base_model(pool());
  const auto model = get("/v1/models/" + base_model.name).json();
  EXPECT_EQ(text(model.at("id")), base_model.name);
  EXPECT_EQ(model.at("object"), "model");
  EXPECT_GT(model.at("created").as_int64(), 0);
  EXPECT_EQ(model.at("owned_by"), "system");
  EXPECT_TRUE(model.at("shutdown_date").is_null());
  EXPECT_EQ(send("DELETE", "/v1/models/" + base_model.name).status, 403);
  const auto list = get("/v1/models").json();
  EXPECT_EQ(list.at("object"), "list");
  EXPECT_EQ(list.as_object().size(), 2u);
  EXPECT_GE(list.at("data").as_array().size(), 1u);
}

TEST_F(ModelsTest, NamesWithSlashesComeEscaped) {
  auto model = make_base_model(pool());
  model.name = "acme/" + model.name;
  model.sha256 = std::string(64, 'a');
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) { storage::ModelStore(tx).add_base(model); });
  const auto found = get("/v1/models/acme%2F" + model.name.substr(5));
  EXPECT_EQ(found.status, 200) << found.body;
  EXPECT_EQ(text(found.json().at("id")), model.name);
}

TEST_F(ModelsTest, OwnModelsCanBeDeletedByTheirProjectAlone) {
  const std::string name = tuned_model();
  const auto model = get("/v1/models/" + name).json();
  EXPECT_EQ(text(model.at("id")), name);
  EXPECT_EQ(text(model.at("owned_by")), tenant_.project.organization_name);
  const Tenant other = make_tenant();
  EXPECT_EQ(send_as(other.key, "GET", "/v1/models/" + name).status, 404);
  EXPECT_EQ(send_as(other.key, "DELETE", "/v1/models/" + name).status, 404);
  const auto removed = send("DELETE", "/v1/models/" + name).json();
  EXPECT_EQ(text(removed.at("id")), name);
  EXPECT_EQ(removed.at("object"), "model");
  EXPECT_EQ(removed.at("deleted"), true);
  const Answer gone = get("/v1/models/" + name);
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(gone.code(), "model_not_found");
  EXPECT_EQ(gone.param(), "model");
}

}  // namespace
}  // namespace finetuned::tests
