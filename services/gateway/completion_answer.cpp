#include "services/gateway/completion_answer.h"

#include <cstring>

#include "base/clock.h"
#include "base/errors.h"
#include "base/expects.h"
#include "base/ids.h"
#include "base/log.h"
#include "services/gateway/completion_shapes.h"
#include "services/gateway/generation.h"
#include "services/gateway/limits.h"
#include "services/gateway/render.h"
#include "services/gateway/shapes.h"
#include "storage/model_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

using inference::AnswerLine;
using inference::Done;
using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr std::size_t kMostWholeBytes = 32u << 20;  // of text and tokens that are kept until an answer is whole

base::ApiError failed(const std::string& message) { return {500, "server_error", "generation_failed", message}; }

/// A model, and what its answers cost.
struct PricedModel {
  storage::ServedModel model;
  billing::InferenceTerms terms;
};

PricedModel priced_model(const Platform& platform, const std::string& project, const std::string& name) {
  return platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    const auto model = storage::ModelStore(tx).find_served(name);
    if (!model) throw no_such_model(name);
    const auto terms = billing::inference_terms(tx, project, model->base_model);
    base::expects(terms.has_value(), "a served model's base is registered");
    if (terms->archived)
      throw base::bad_request("project_archived", "The project " + project + " is archived and asks for no answers.");
    return PricedModel{*model, *terms};
  });
}

/// Sets aside what the answer may cost, where it costs something.
std::optional<billing::InferenceHold> hold_price(const Platform& platform, const Request& request, const GenerationRequest& asked,
                                                 const billing::InferenceTerms& terms) {
  if (terms.free()) return std::nullopt;
  const std::string& project = request.principal.project_id;
  const TokenBounds most = most_tokens(asked, terms.context);
  return platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    return billing::hold_inference(tx, project, request.id, terms, {most.input, most.output}, platform.generations.longest);
  });
}

/// Objects and hashes come from the project's own rows: what a worker is told to load is never another's.
inference::StoredFile stored_file(const storage::ServedModel& model, const std::string& asked, const char* name) {
  const auto object = model.objects.find(name);
  const auto sha256 = model.sha256.find(name);
  if (object == model.objects.end() || sha256 == model.sha256.end())
    throw base::bad_request("model_not_servable",
                            "The model `" + asked + "` was made before its files' hashes were kept, so it cannot answer.", "model");
  return {object->second, sha256->second};
}

inference::InferenceRequest wire_request(const std::string& id, const GenerationRequest& asked, const storage::ServedModel& model) {
  inference::InferenceRequest request;
  request.request_id = id;
  request.base = model.base_model;
  if (!model.objects.empty())
    request.adapter = inference::AdapterFiles{stored_file(model, asked.model, "adapter_model.safetensors"),
                                              stored_file(model, asked.model, "adapter_config.json")};
  if (asked.chat) request.input = inference::Chat{asked.messages, {}};
  else if (!asked.prompts.empty()) request.input = asked.prompts;
  else request.input = asked.prompt_ids;
  request.n = asked.n;
  request.max_tokens = asked.max_tokens;
  request.temperature = asked.temperature;
  request.top_p = asked.top_p;
  if (asked.seed) {
    request.seed = *asked.seed;
  } else {
    const std::string random = base::random_bytes(sizeof request.seed);
    std::memcpy(&request.seed, random.data(), sizeof request.seed);
  }
  request.stop = asked.stop;
  request.logprobs = asked.logprobs;
  request.echo = asked.echo;
  if (request.serialise().size() > inference::kRequestBytes)
    throw base::ApiError(413, "invalid_request_error", "request_too_large", "The messages or prompts are too long for a model.");
  return request;
}

/// The pieces as they come.
class LiveCompletion final : public LiveBody {
 public:
  LiveCompletion(const AnswerIdentity& identity, std::unique_ptr<Generation> generation, const std::vector<AnswerLine>& first)
      : answer_(identity), generation_(std::move(generation)), first_(first) {}

  std::optional<std::string> read() override {
    if (ended_) return std::nullopt;
    std::string events;
    try {
      const auto lines = first_.empty() ? generation_->read() : std::exchange(first_, {});
      for (const AnswerLine& line : lines) std::visit([&](const auto& one) { take(one, events); }, line);
    } catch (const base::ApiError& error) {
      end_broken(error, events);
    } catch (const inference::WireError& error) {
      base::log_error("an inference worker talks nonsense", {{"why", error.what()}});
      end_broken(failed("The model's worker gave an answer that makes no sense."), events);
    }
    return events;
  }

  Wait wait() const override { return generation_->wait(); }

 private:
  template <class Line>
  void take(const Line& line, std::string& events) {
    if constexpr (std::is_same_v<Line, Done>) {
      events += answer_.finish(line);
      ended_ = true;
    } else if constexpr (!std::is_same_v<Line, inference::Failure> && !std::is_same_v<Line, inference::Begun>) {
      // the generation throws the former, and keeps the latter
      if (!ended_) events += answer_.add(line);
    }
  }

  /// The status is long gone: the client learns of it by an event.
  void end_broken(const base::ApiError& error, std::string& events) {
    events += StreamedAnswer::broken(error);
    ended_ = true;
  }

  StreamedAnswer answer_;
  const std::unique_ptr<Generation> generation_;
  std::vector<AnswerLine> first_;
  bool ended_ = false;
};

class PendingCompletion final : public PendingAnswer {
 public:
  PendingCompletion(const AnswerIdentity& identity, bool stream, std::unique_ptr<Generation> generation)
      : identity_(identity), stream_(stream), whole_(identity), generation_(std::move(generation)) {}

  std::optional<Response> look() override {
    try {
      const auto lines = generation_->read();
      if (lines.empty()) return std::nullopt;
      return stream_ ? streamed(lines) : gathered(lines);
    } catch (const TryLater& refusal) {
      Response response = render_error(refusal);
      for (auto& [name, value] : response.headers)
        if (name == "retry-after") value = std::to_string(refusal.retry_after.count());
      return response;
    } catch (const inference::WireError& error) {
      base::log_error("an inference worker talks nonsense", {{"why", error.what()}});
      throw failed("The model's worker gave an answer that makes no sense.");
    }
  }

  Wait wait() const override { return generation_->wait(); }

 private:
  Response streamed(const std::vector<AnswerLine>& lines) {
    Response response;
    response.headers = {{"content-type", "text/event-stream; charset=utf-8"}, {"cache-control", "no-cache"}};
    response.live = std::make_unique<LiveCompletion>(identity_, std::move(generation_), lines);
    return response;
  }

  std::optional<Response> gathered(const std::vector<AnswerLine>& lines) {
    for (const AnswerLine& line : lines) {
      if (const auto* done = std::get_if<Done>(&line)) return json_response(whole_.finish(*done));
      if (const auto* end = std::get_if<inference::ChoiceEnd>(&line)) whole_.add(*end);
      const auto* piece = std::get_if<inference::TextPiece>(&line);
      if (!piece) continue;
      whole_.add(*piece);
      kept_bytes_ += piece->text.size();
      for (const auto& token : piece->tokens) kept_bytes_ += 64 * (1 + token.top.size());
      if (kept_bytes_ > kMostWholeBytes) throw failed("The answer is too large to be sent whole: stream it.");
    }
    return std::nullopt;
  }

  const AnswerIdentity identity_;
  const bool stream_;
  WholeAnswer whole_;
  std::unique_ptr<Generation> generation_;
  std::size_t kept_bytes_ = 0;
};

}  // namespace

Response answer_completion(const Platform& platform, const Request& request, const GenerationRequest& asked) {
  const Principal& principal = request.principal;
  GenerationPlace place(platform.generations, principal.project_id);
  const PricedModel priced = priced_model(platform, principal.project_id, asked.model);
  auto wire = wire_request(request.id, asked, priced.model);
  TakenTokens tokens = take_generation(platform, request, wire.base, likely_tokens(asked));
  AnswerIdentity identity;
  identity.chat = asked.chat;
  identity.id = base::make_id(asked.chat ? "chatcmpl" : "cmpl");
  identity.created = base::SystemClock().unix_seconds();
  identity.model = asked.model;
  identity.choices = wire.choices();
  identity.logprobs = asked.logprobs.has_value();
  identity.include_usage = asked.include_usage;
  GenerationBill bill{.usage = {}, .terms = priced.terms, .hold = hold_price(platform, request, asked, priced.terms)};
  bill.usage.request_id = request.id;
  bill.usage.project_id = principal.project_id;
  bill.usage.api_key_id = principal.key_id;
  bill.usage.model = asked.model;
  auto generation = std::make_unique<Generation>(platform.database, platform.generations, std::move(place), std::move(wire),
                                                 std::move(bill), std::move(tokens));
  Response response;
  response.pending = std::make_unique<PendingCompletion>(identity, asked.stream, std::move(generation));
  return response;
}

}  // namespace finetuned::gateway
