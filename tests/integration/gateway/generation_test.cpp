#include "tests/integration/gateway/generation_fixture.h"
#include "tests/integration/gateway/unread_wire.h"

// What becomes of a request when a worker of the inference service is full, slow, broken or gone. That sound workers
// answer well is proven with real ones: tests/conformance/openai_client.mjs.

namespace finetuned::tests {
namespace {

TEST_F(GenerationTest, AnUnknownModelIsNotFound) {
  for (const char* path : {"/v1/chat/completions", "/v1/completions"}) {
    const Answer refused = send("POST", path, R"({"model":"none","prompt":"a","messages":[{"role":"user","content":"hi"}]})");
    EXPECT_EQ(refused.status, 404) << refused.body;
    EXPECT_EQ(refused.code(), "model_not_found");
    EXPECT_EQ(refused.param(), "model");
  }
}

TEST_F(GenerationTest, ABadBodyIsRefusedAndAnAdminKey) {
  const Answer refused = ask(R"(,"n":0)");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.param(), "n");
  EXPECT_EQ(send_as(tenant_.admin_key, "POST", "/v1/chat/completions", chat(base_.name)).status, 403);
}

TEST_F(GenerationTest, WithoutAWorkerNothingAnswers) {
  const Answer refused = ask();
  EXPECT_EQ(refused.status, 503) << refused.body;
  EXPECT_EQ(refused.code(), "model_not_available");
  EXPECT_EQ(refused.header("retry-after"), "5");
  EXPECT_EQ(refused.header("x-should-retry"), "true");
  EXPECT_TRUE(usage(0).empty());
  EXPECT_EQ(spent(), 0);
  EXPECT_EQ(transfers(), (std::vector<std::string>{"void", "pending", "single"}));
}

TEST_F(GenerationTest, AFullWorkerIsPassedOver) {
  ScriptedWorker full(base_.name, 9, refuse_as_full), other(base_.name, 1, answer);
  const Answer answered = ask();
  ASSERT_EQ(answered.status, 200) << answered.body;
  EXPECT_EQ(text(answered.json().at("choices").at(0).at("message").at("content")), "Hello");
  EXPECT_EQ(full.asked(), 1);
  const auto rows = usage(1);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].prompt, 11);
  EXPECT_EQ(rows[0].completion, 4);
  EXPECT_TRUE(rows[0].whole);
  EXPECT_EQ(rows[0].model, base_.name);
}

TEST_F(GenerationTest, WhereAllAreFullTheClientIsToldWhenToComeBack) {
  ScriptedWorker one(base_.name, 9, refuse_as_full), other(base_.name, 1, refuse_as_full);
  for (const char* more : {"", R"(,"stream":true)"}) {
    const Answer refused = ask(more);
    EXPECT_EQ(refused.status, 429) << refused.body;
    EXPECT_EQ(refused.code(), "engine_overloaded");
    EXPECT_EQ(refused.header("retry-after"), "3");
    EXPECT_EQ(refused.header("x-should-retry"), "true");
  }
  EXPECT_EQ(one.asked() + other.asked(), 4);
}

TEST_F(GenerationTest, AWorkersRefusalIsTheAnswer) {
  ScriptedWorker worker(base_.name, 1, [](WorkerSide& side) {
    side.request();
    side.send(Failure{400, "invalid_request_error", "context_length_exceeded", "Too long.", "messages", std::nullopt});
  });
  const Answer refused = ask();
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.code(), "context_length_exceeded");
  EXPECT_EQ(refused.param(), "messages");
  EXPECT_EQ(worker.asked(), 1);
  EXPECT_EQ(spent(), 0);
}

TEST_F(GenerationTest, AWorkerThatDiesBeforeItsAnswerIsReplacedOnce) {
  ScriptedWorker first(base_.name, 9, die_at_once);
  {
    ScriptedWorker second(base_.name, 5, answer);
    EXPECT_EQ(ask().status, 200);
  }
  ScriptedWorker second(base_.name, 5, die_at_once), third(base_.name, 1, answer);
  const Answer refused = ask();
  EXPECT_EQ(refused.status, 503) << refused.body;
  EXPECT_EQ(refused.code(), "model_not_available");
  EXPECT_EQ(third.asked(), 0) << "a request that workers die of is not handed to all of them";
}

TEST_F(GenerationTest, AWorkerThatDiesInTheMiddleBreaksTheAnswerOff) {
  ScriptedWorker worker(base_.name, 1, die_in_the_middle);
  const Answer broken = ask();
  EXPECT_EQ(broken.status, 500) << broken.body;
  EXPECT_EQ(broken.code(), "generation_failed");
  const auto rows = usage(1);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].prompt, 9);
  EXPECT_EQ(rows[0].completion, 4) << "what had come, by the worker's count and not by pieces";
  EXPECT_FALSE(rows[0].whole);
  EXPECT_EQ(spent(), 13'000);
}

TEST_F(GenerationTest, AStreamThatBreaksEndsWithAnError) {
  ScriptedWorker worker(base_.name, 1, die_in_the_middle);
  auto wire = streaming(gateway_->port());
  const std::string events = wire->read_until("0\r\n\r\n");
  EXPECT_NE(events.find(R"("content":"b")"), std::string::npos) << events;
  EXPECT_NE(events.find(R"("code":"generation_failed")"), std::string::npos) << events;
  EXPECT_EQ(events.find("[DONE]"), std::string::npos) << events;
}

TEST_F(GenerationTest, AWorkersFailureInTheMiddleComesBehindTheText) {
  ScriptedWorker worker(base_.name, 1, [](WorkerSide& side) {
    side.request();
    side.send(inference::serialise(TextPiece{0, "a", {}}) +
              inference::serialise(Failure{500, "server_error", "out_of_memory", "It is full.", std::nullopt, std::nullopt}));
    side.closed_by_gateway();
  });
  auto wire = streaming(gateway_->port());
  const std::string events = wire->read_until("0\r\n\r\n");
  EXPECT_NE(events.find(R"("content":"a")"), std::string::npos) << events;
  EXPECT_NE(events.find(R"("code":"out_of_memory")"), std::string::npos) << events;
}

TEST_F(GenerationTest, NonsenseIsNoAnswer) {
  for (const char* line : {"hello\n", "{\"choice\":0}\n", "{\"choice\":7,\"text\":\"a\",\"computed\":1}\n"}) {
    ScriptedWorker worker(base_.name, 1, [line](WorkerSide& side) {
      side.request();
      side.send(std::string(line));
    });
    const Answer refused = ask();
    EXPECT_GE(refused.status, 500) << line << refused.body;
  }
  ScriptedWorker worker(base_.name, 1, [](WorkerSide& side) {
    side.request();
    side.send(TextPiece{0, "a", {}});
    side.send(std::string("hello\n"));
  });
  EXPECT_EQ(ask().code(), "generation_failed");
  EXPECT_EQ(send("GET", "/v1/models").status, 200) << "the gateway goes on";
}

TEST_F(GenerationTest, AnAnswerThatTakesTooLongIsGivenUp) {
  RunningGateway impatient([](base::Settings& settings) { settings.gateway.generation_seconds = 1; });
  std::atomic<int> cancelled{0};
  ScriptedWorker worker(base_.name, 1, [&](WorkerSide& side) {
    side.request();
    cancelled += side.closed_by_gateway();
  });
  Call request;
  request.method = "POST";
  request.path = "/v1/chat/completions";
  request.key = tenant_.key;
  request.body = chat(base_.name);
  const Answer late = call(impatient.port(), request);
  EXPECT_EQ(late.status, 504) << late.body;
  EXPECT_EQ(late.code(), "generation_timeout");
  EXPECT_EQ(late.header("x-should-retry"), "false");
  EXPECT_TRUE(eventually([&] { return cancelled == 1; }, 10));
}

TEST_F(GenerationTest, AClientThatGoesAwayCancelsItsRequestAndPaysForWhatItHad) {
  std::atomic<int> cancelled{0};
  ScriptedWorker worker(base_.name, 1, [&](WorkerSide& side) {
    side.request();
    side.send(Begun{21});
    for (const char* text : {"a", "b", "c"}) side.send(TextPiece{0, text, {}, 2});
    cancelled += side.closed_by_gateway();
  });
  {
    auto wire = streaming(gateway_->port());
    EXPECT_NE(wire->read_until(R"("content":"c")"), "");
  }
  EXPECT_TRUE(eventually([&] { return cancelled == 1; }, 10));
  const auto rows = usage(1);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].prompt, 21);
  EXPECT_EQ(rows[0].completion, 6);
  EXPECT_FALSE(rows[0].whole);
  EXPECT_EQ(spent(), 27'000);
}

/// A long prompt cost nothing where its client left before the first token.
TEST_F(GenerationTest, AClientThatGoesAwayBeforeTheFirstTokenPaysForItsPrompt) {
  std::atomic<int> begun{0};
  ScriptedWorker worker(base_.name, 1, [&](WorkerSide& side) {
    side.request();
    side.send(Begun{500});
    ++begun;
    side.closed_by_gateway();
  });
  {
    Wire wire(gateway_->port());
    Call request;
    request.method = "POST";
    request.path = "/v1/chat/completions";
    request.key = tenant_.key;
    request.body = chat(base_.name);
    wire.send(to_bytes(request));
    EXPECT_TRUE(eventually([&] { return begun == 1; }, 10));
  }
  const auto rows = usage(1);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].prompt, 500);
  EXPECT_EQ(rows[0].completion, 0);
  EXPECT_FALSE(rows[0].whole);
  EXPECT_EQ(spent(), 500'000);
}

/// Its worker is held back by what the sockets take, and cancelled when the client has taken nothing for the time of a write.
TEST_F(GenerationTest, AClientThatNeverReadsItsStreamIsCutOffAndItsPlaceIsFree) {
  RunningGateway strict([](base::Settings& settings) {
    settings.gateway.request_timeout_seconds = 1;
    settings.gateway.max_generations = 4;  // one of the project
    settings.gateway.generation_seconds = 60;
  });
  constexpr std::size_t kOffered = 64u << 20;
  std::atomic<std::size_t> taken{0};
  std::atomic<int> cancelled{0};
  ScriptedWorker worker(base_.name, 1, [&](WorkerSide& side) {
    side.request();
    side.send(Begun{3});
    const TextPiece piece{0, std::string(16 * 1024, 'a'), {}, 1};
    while (taken < kOffered && side.send(piece)) taken += piece.text.size();
    cancelled += taken < kOffered;
  });
  Call request;
  request.method = "POST";
  request.path = "/v1/chat/completions";
  request.key = tenant_.key;
  request.body = chat(base_.name, R"(,"stream":true)");
  UnreadWire unread(strict.port());
  unread.send(to_bytes(request));
  EXPECT_TRUE(eventually([&] { return cancelled == 1; }, 10));
  EXPECT_LT(taken, 16u << 20) << "what is not read is not kept";
  EXPECT_GT(taken, 0u);
  const auto rows = usage(1);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_FALSE(rows[0].whole);
  EXPECT_TRUE(eventually([&] {
    Wire next(strict.port());
    next.send(to_bytes(request));
    const auto head = next.read(true);
    return head && head->status == 200;
  }, 10)) << "the place is given back";
}

TEST_F(GenerationTest, WhatAWorkerDidBeforeItWasLostIsNotTheProjects) {
  ScriptedWorker first(base_.name, 9, [](WorkerSide& side) {
    side.request();
    side.send(Begun{11});
  });
  ScriptedWorker second(base_.name, 1, answer);
  EXPECT_EQ(ask().status, 200);
  const auto rows = usage(1);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].prompt, 11);
  EXPECT_TRUE(rows[0].whole);
}

TEST_F(GenerationTest, AProjectTakesAQuarterOfThePlaces) {
  RunningGateway small([](base::Settings& settings) { settings.gateway.max_generations = 4; });
  ScriptedWorker worker(base_.name, 1, [](WorkerSide& side) {
    side.request();
    side.send(TextPiece{0, "a", {}});
    side.closed_by_gateway();
  });
  auto held = streaming(small.port());
  streaming(small.port(), 429);
  held.reset();
  EXPECT_TRUE(eventually([&] {
    Wire wire(small.port());
    wire.send(to_bytes(streamed_chat()));
    return wire.read(true)->status == 200;
  }, 10)) << "the place is given back";
}

/// The object and hash of a tuned model's files that reach the worker are its own project's.
TEST_F(GenerationTest, AnAdapterComesFromTheProjectsOwnRows) {
  const auto weights = make_counted_file(pool(), tenant_.project, base_, {10});
  const auto config = make_file(pool(), tenant_.project);
  const std::string name = "ft:" + base_.name + ":acme::" + weights.id.substr(5, 8);
  pool().transact(Scope::system(), [&](Transaction& tx) {
    const auto job = new_job(tenant_.project, base_, weights);
    tx.execute("INSERT INTO job (id, project_id, organization_id, model, base_model, state, training_file, hyperparameters,"
               " method, seed) VALUES ($1, $2, $3, $4, $4, 'validating_files', $5, '{}', '{}', 1)",
               {job.id, job.project_id, job.organization_id, job.base_model, weights.id});
    storage::FineTunedModel model;
    model.name = name;
    model.project_id = tenant_.project.id;
    model.job_id = job.id;
    model.base_model = base_.name;
    model.objects = {{"adapter_model.safetensors", weights.object_id}, {"adapter_config.json", config.object_id}};
    storage::ModelStore(tx).add_fine_tuned(model);
  });
  std::string line;
  ScriptedWorker worker(base_.name, 1, [&](WorkerSide& side) {
    line = side.request();
    side.send(kFull);
  });
  EXPECT_EQ(send("POST", "/v1/chat/completions", chat(name, R"(,"seed":5,"max_tokens":3)")).status, 429);
  const auto request = inference::InferenceRequest::parse(line);
  EXPECT_EQ(request.base, base_.name);
  ASSERT_TRUE(request.adapter);
  EXPECT_EQ(request.adapter->weights.object, weights.object_id);
  EXPECT_EQ(request.adapter->weights.sha256, weights.sha256);
  EXPECT_EQ(request.adapter->config.object, config.object_id);
  EXPECT_EQ(request.adapter->config.sha256, config.sha256);
  EXPECT_EQ(request.seed, 5u);
  EXPECT_EQ(request.max_tokens, 3);
  const Tenant stranger = make_tenant();
  const Answer refused = send_as(stranger.key, "POST", "/v1/chat/completions", chat(name));
  EXPECT_EQ(refused.status, 404);
  EXPECT_EQ(refused.code(), "model_not_found");
  EXPECT_EQ(worker.asked(), 1) << "another project's request reaches no worker";
}

TEST_F(GenerationTest, TokensCountByWhatAnAnswerMayTakeAndThenByWhatItTook) {
  ScriptedWorker worker(base_.name, 1, answer);
  limit(R"({"max_tokens_per_1_minute":1000})");
  const Answer first = ask(R"(,"max_tokens":300)");
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(first.header("x-ratelimit-limit-tokens"), "1000");
  EXPECT_EQ(first.header("x-ratelimit-remaining-tokens"), "699") << "its prompt of two bytes, and 300";
  for (int i = 0; i < 5; ++i) {
    const Answer again = ask(R"(,"max_tokens":300)");
    ASSERT_EQ(again.status, 200) << "each took 15: " << again.body;
    EXPECT_GE(std::stoi(again.header("x-ratelimit-remaining-tokens")), 1000 - 301 - 15 * (i + 1));
  }
}

TEST_F(GenerationTest, TokensThatWereNotForeseenAreTakenFromTheNextRequests) {
  ScriptedWorker worker(base_.name, 1, [](WorkerSide& side) {
    side.request();
    side.send(Begun{900});
    side.send(ChoiceEnd{0, FinishReason::kStop, 80});
    side.send(Done{900, 80, "fp_0123456789abcdef"});
  });
  limit(R"({"max_tokens_per_1_minute":1000})");
  ASSERT_EQ(ask(R"(,"max_tokens":100)").status, 200);
  const Answer refused = ask(R"(,"max_tokens":500)");
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_EQ(refused.code(), "rate_limit_exceeded");
  EXPECT_EQ(text(refused.json().at("error").at("type")), "tokens");
  EXPECT_GE(std::stoi(refused.header("retry-after")), 20) << "480 tokens at 1000 a minute";
  EXPECT_EQ(worker.asked(), 1);
}

TEST_F(GenerationTest, MoreTokensThanALimitHasAreRefusedForGood) {
  ScriptedWorker worker(base_.name, 1, answer);
  limit(R"({"max_tokens_per_1_minute":1000})");
  const Answer refused = ask(R"(,"n":4,"max_tokens":300)");
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_EQ(refused.message().substr(0, 21), "Request too large for") << refused.body;
  EXPECT_EQ(refused.header("x-should-retry"), "false");
  EXPECT_EQ(worker.asked(), 0);
  EXPECT_EQ(ask(R"(,"max_tokens":900)").status, 200) << "a refused one took nothing";
  RunningGateway small([](base::Settings& settings) { settings.gateway.tokens_per_minute_per_project = 50; });
  Call request;
  request.method = "POST";
  request.path = "/v1/completions";
  request.key = tenant_.key;
  request.body = R"({"model":")" + base_.name + R"(","prompt":[1,2,3],"max_tokens":48})";
  const Answer of_project = call(small.port(), request);
  EXPECT_EQ(of_project.status, 429) << of_project.body;
  EXPECT_NE(of_project.message().find("project " + tenant_.project.id), std::string::npos) << of_project.body;
}

TEST_F(GenerationTest, AnAnswerThatNobodyGaveTakesNoTokens) {
  limit(R"({"max_tokens_per_1_minute":150})");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(R"(,"max_tokens":100)").status, 503) << i;
}

TEST_F(GenerationTest, AnswersCountAgainstTheModelsRequests) {
  ScriptedWorker worker(base_.name, 1, answer);
  limit(R"({"max_requests_per_1_minute":1,"max_tokens_per_1_minute":1000})");
  EXPECT_EQ(ask(R"(,"max_tokens":600)").status, 200);
  for (int i = 0; i < 3; ++i) {
    const Answer refused = ask(R"(,"max_tokens":600)");
    EXPECT_EQ(refused.status, 429) << refused.body;
    EXPECT_EQ(text(refused.json().at("error").at("type")), "requests") << "their tokens were given back";
  }
}

TEST_F(GenerationTest, AdministratorsReadWhatAnswersTook) {
  ScriptedWorker worker(base_.name, 1, answer);
  EXPECT_EQ(ask().status, 200);
  EXPECT_EQ(ask().status, 200);
  const auto key = usage(2).at(0).key;
  const auto read = [&](const std::string& admin_key, const std::string& more) {
    const auto start = pool().transact(Scope::system(), [](Transaction& tx) {
      return tx.execute("SELECT extract(epoch FROM clock_timestamp())::bigint - 60 AS start").row(0).integer("start");
    });
    const Answer page = send_as(admin_key, "GET", "/v1/organization/usage/completions?start_time=" + std::to_string(start) + more);
    EXPECT_EQ(page.status, 200) << page.body;
    json::array results;
    const auto body = page.json();
    for (const auto& bucket : body.at("data").as_array())
      for (const auto& result : bucket.at("results").as_array()) results.push_back(result);
    return results;
  };
  const auto plain = read(tenant_.admin_key, "");
  ASSERT_EQ(plain.size(), 1u);
  EXPECT_EQ(plain[0].at("num_model_requests"), 2);
  EXPECT_EQ(plain[0].at("input_tokens"), 22);
  EXPECT_EQ(plain[0].at("output_tokens"), 8);
  EXPECT_TRUE(plain[0].at("model").is_null() && plain[0].at("project_id").is_null());
  const auto grouped = read(tenant_.admin_key, "&group_by[]=model&group_by[]=project_id&group_by[]=api_key_id&models[]=" + base_.name);
  ASSERT_EQ(grouped.size(), 1u);
  EXPECT_EQ(text(grouped[0].at("model")), base_.name);
  EXPECT_EQ(text(grouped[0].at("project_id")), tenant_.project.id);
  EXPECT_EQ(text(grouped[0].at("api_key_id")), key);
  EXPECT_TRUE(read(tenant_.admin_key, "&models[]=other").empty());
  EXPECT_TRUE(read(tenant_.admin_key, "&batch=true").empty());
  EXPECT_TRUE(read(make_tenant().admin_key, "").empty()) << "another organization's";
  EXPECT_EQ(send_as(tenant_.key, "GET", "/v1/organization/usage/completions?start_time=0").status, 403);
  EXPECT_EQ(send_as(tenant_.admin_key, "GET", "/v1/organization/usage/completions").status, 400);
}

}  // namespace
}  // namespace finetuned::tests
