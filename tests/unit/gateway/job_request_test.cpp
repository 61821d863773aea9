#include "services/gateway/job_request.h"

#include <boost/json/serialize.hpp>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::gateway {
namespace {

struct Refusal {
  std::string code;
  std::string param;
};

Refusal refused(const std::string& body) {
  try {
    parse_job_request(body);
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    return {error.code, error.param.value_or("")};
  }
  return {"accepted", ""};
}

std::string with(const std::string& more) { return R"({"model":"m","training_file":"file-a",)" + more + "}"; }

TEST(JobRequest, ReadsEverything) {
  const JobRequest request = parse_job_request(with(
      R"("validation_file":"file-b","suffix":"s.1","seed":7,"metadata":{"a":"b"},
         "integrations":[{"type":"wandb","wandb":{"project":"p"}}],
         "method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":2}}})"));
  EXPECT_EQ(request.model, "m");
  EXPECT_EQ(request.training_file, "file-a");
  EXPECT_EQ(request.validation_file, "file-b");
  EXPECT_EQ(request.suffix, "s.1");
  EXPECT_EQ(request.seed, 7);
  EXPECT_EQ(request.metadata.at("a"), "b");
  EXPECT_EQ(request.integrations.as_array().size(), 1u);
  EXPECT_EQ(request.hyperparameters.at("n_epochs"), 2);
}

TEST(JobRequest, AcceptsNullsAndTheDeprecatedPlace) {
  const JobRequest request = parse_job_request(with(
      R"("validation_file":null,"suffix":null,"seed":null,"metadata":null,"integrations":null,"method":{"type":"supervised"},
         "hyperparameters":{"n_epochs":4,"batch_size":"auto"})"));
  EXPECT_EQ(request.validation_file, std::nullopt);
  EXPECT_TRUE(request.metadata.is_null());
  EXPECT_EQ(request.hyperparameters.at("n_epochs"), 4);
  EXPECT_EQ(request.hyperparameters.size(), 1u);
}

TEST(JobRequest, NamesTheParameterAtFault) {
  const std::string long_key(65, 'k'), long_value(513, 'v');
  std::string pairs;
  for (int i = 0; i < 17; ++i) pairs += (i ? ",\"" : "\"") + std::to_string(i) + "\":\"\"";
  const std::pair<std::string, std::string> cases[] = {
      {R"({"training_file":"file-a"})", "model"},
      {R"({"model":"m"})", "training_file"},
      {R"({"model":1,"training_file":"file-a"})", "model"},
      {with(R"("suffix":"")"), "suffix"},
      {with(R"("suffix":"a:b")"), "suffix"},
      {with("\"suffix\":\"" + std::string(65, 's') + "\""), "suffix"},
      {with(R"("seed":-1)"), "seed"},
      {with(R"("seed":2147483648)"), "seed"},
      {with(R"("seed":1.5)"), "seed"},
      {with(R"("metadata":[])"), "metadata"},
      {with("\"metadata\":{" + pairs + "}"), "metadata"},
      {with("\"metadata\":{\"" + long_key + "\":\"\"}"), "metadata"},
      {with("\"metadata\":{\"k\":\"" + long_value + "\"}"), "metadata.k"},
      {with(R"("metadata":{"k":1})"), "metadata.k"},
      {with(R"("integrations":[{"type":"other"}])"), "integrations[0]"},
      {with(R"("integrations":[{"type":"wandb","wandb":{}}])"), "integrations[0].wandb.project"},
      {with(R"("integrations":[{"type":"wandb","wandb":{"project":""}}])"), "integrations[0].wandb.project"},
      {with(R"("integrations":[{"type":"wandb","wandb":{"project":"p","name":[]}}])"), "integrations[0].wandb.name"},
      {with(R"("integrations":[{"type":"wandb","wandb":{"project":"p","tags":["a",1]}}])"), "integrations[0].wandb.tags"},
      {with(R"("method":{"type":"magic"})"), "method.type"},
      {with(R"("method":{"supervised":{}})"), "method.type"},
      {with(R"("method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":0}}})"),
       "method.supervised.hyperparameters.n_epochs"},
      {with(R"("hyperparameters":{"n_epochs":1},"method":{"type":"supervised","supervised":{"hyperparameters":{}}})"),
       "hyperparameters"},
  };
  for (const auto& [body, param] : cases) EXPECT_EQ(refused(body).param, param) << body;
}

/// They were refused; OpenAI's clients send what newer servers understand.
TEST(JobRequest, IgnoresKeysThatMeanNothing) {
  const JobRequest request = parse_job_request(with(R"("project_id":"p","status":"succeeded","user":{"a":[1]})"));
  EXPECT_EQ(request.model, parse_job_request(with(R"("seed":null)")).model);
}

/// Whatever stood there was kept, of any size and type, and shown in answers that it made invalid; a key among it too.
TEST(JobRequest, KeepsOfAnIntegrationWhatItsFormHas) {
  const JobRequest request = parse_job_request(
      with(R"("integrations":[{"type":"wandb","extra":1,"wandb":{"project":"p","entity":null,"tags":["a"],"api_key":"secret"}}])"));
  EXPECT_EQ(base::json::serialize(request.integrations),
            R"([{"type":"wandb","wandb":{"project":"p","name":null,"entity":null,"tags":["a"]}}])");
}

TEST(JobRequest, RefusesOtherMethodsAndSettingsBesideTheirPlace) {
  EXPECT_EQ(refused(with(R"("method":{"type":"dpo","dpo":{}})")).code, "unsupported_method");
  EXPECT_EQ(refused(with(R"("method":{"type":"reinforcement"})")).code, "unsupported_method");
  EXPECT_EQ(refused(with(R"("n_epochs":3)")).code, "unknown_parameter");
  EXPECT_EQ(refused(with(R"("n_epochs":3)")).param, "n_epochs");
}

TEST(JobRequest, RefusesWhatIsNoStrictJson) {
  for (const char* body : {"", "[]", "null", "{", R"({"model":"a","model":"b"})", R"({"seed":9223372036854775808})", "{} {}"})
    EXPECT_EQ(refused(body).code, "invalid_json") << body;
}

}  // namespace
}  // namespace finetuned::gateway
