#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "services/inference/directory.h"
#include "services/inference/service.h"
#include "tests/integration/inference/conversation.h"
#include "tests/integration/platform/data_directory.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"
#include "trainer/formats/peft.h"
#include "trainer/generate/any_model.h"
#include "trainer/kernels/counter_rng.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::inference {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// A service on a tiny base, its clients, and what the engine alone says to the same.
class ServiceTest : public testing::Test {
 protected:
  ServiceTest() : redis_(tests::redis_address()) {
    redis_.command({"FLUSHALL"});
    base_ = data_.import_tiny_model(tests::pool(), 1, kContext);
    options_.name = "host:" + std::to_string(::getpid());
    options_.directory = data_.path() / "run";
    options_.threads = 1;
    options_.memory_bytes = 1u << 30;
    options_.build = "test";
    options_.drain = 5s;
  }
  ~ServiceTest() override { stop(); }

  static constexpr int kContext = 2048;

  void start() {
    service_ = std::make_unique<InferenceService>(tests::pool(), data_.store(), redis_, options_);
    thread_ = std::jthread([this](const std::stop_token& stop) { service_->run(stop); });
  }
  void stop() {
    if (!service_) return;
    thread_ = {};
    service_.reset();
  }

  /// A random adapter for `base_` in the object store, and in the data directory by `name`.
  AdapterFiles make_adapter(const std::string& name, std::uint64_t seed, int rank = 4) {
    formats::AdapterConfig shape;
    shape.rank = rank;
    shape.alpha = 16;
    shape.target_modules = {"q_proj", "v_proj", "down_proj"};
    shape.base_model_name_or_path = base_.name;
    formats::Adapter adapter = formats::make_adapter(shape, formats::read_model_config(base_.directory));
    std::uint64_t place = 0;
    for (formats::LoraPair& pair : adapter.pairs)
      for (std::vector<float>* values : {&pair.a, &pair.b})
        for (float& value : *values)
          value = static_cast<float>(kernels::random_uniform(kernels::random_key(seed), place++) - 0.5);
    formats::write_adapter(data_.path() / name, adapter);
    return {store(name, "adapter_model.safetensors"), store(name, "adapter_config.json")};
  }

  InferenceRequest request(const std::string& prompt, std::int64_t max_tokens = 24) const {
    InferenceRequest request;
    request.request_id = "req_test";
    request.base = base_.name;
    request.input = PromptTexts{prompt};
    request.max_tokens = max_tokens;
    request.seed = 7;
    return request;
  }

  /// One that takes so long that a test can look at it: its sequences are continued `batch` at a time.
  InferenceRequest long_request() const {
    InferenceRequest request = this->request("how many");
    request.input = PromptTexts(kMostPrompts, "how many apples are there");
    request.n = kMostChoices;
    request.max_tokens = 1500;
    request.temperature = 0;
    return request;
  }

  Reply ask(const InferenceRequest& request) const {
    Conversation conversation(service_->socket());
    conversation.send(request.serialise());
    return conversation.rest();
  }

  /// What the engine says to the request's prompt alone, its adapter by its name in the data directory.
  std::string alone(const InferenceRequest& request, const std::string& adapter = "", std::size_t i = 0) const {
    const formats::ModelConfig config = formats::read_model_config(base_.directory);
    const text::Tokenizer tokenizer = text::Tokenizer::load(base_.directory);
    tensor::AnyDevice device({}, 1);
    generate::AnyModel model(device, {base_.directory, adapter.empty() ? fs::path() : data_.path() / adapter}, config, 512, 1);
    generate::Request asked;
    asked.max_tokens = *request.max_tokens;
    asked.sampling = {request.temperature, request.top_p, request.seed + i};
    asked.stop_ids = config.eos_token_ids;
    asked.stop_ids.push_back(*tokenizer.eos_id());
    text::StreamDecoder decoder(tokenizer);
    std::string text;
    const auto ids = tokenizer.encode(std::get<PromptTexts>(request.input).front());
    model.generate(ids, asked, [&](std::int32_t id) { text += decoder.push(id); });
    return text + decoder.finish();
  }

  tests::DataDirectory data_;
  storage::BaseModel base_;
  redis::Client redis_;
  ServiceOptions options_;
  std::unique_ptr<InferenceService> service_;
  std::jthread thread_;

 private:
  StoredFile store(const std::string& name, const char* file) {
    const auto object = objects::store_file(data_.store(), data_.path() / name / file);
    return {object.id, object.sha256};
  }
};

}  // namespace finetuned::inference
