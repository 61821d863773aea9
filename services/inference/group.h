#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/errors.h"
#include "services/inference/base_catalogue.h"
#include "services/inference/call.h"
#include "services/inference/choice_writer.h"
#include "trainer/generate/any_model.h"

namespace finetuned::inference {

/// The calls that one model answers side by side. They join between any two steps; one whose client is gone leaves at the
/// next. For one thread.
class Group {
 public:
  struct Options {
    std::string fingerprint;             ///< of the model, for Done
    std::int64_t most_new_tokens = kMostNewTokens;  ///< of a choice, whatever a call asks for
  };

  /// `model` and `base` outlive this.
  Group(generate::AnyModel& model, const KnownBase& base, Options options);

  bool has_room() const { return batch_.running() + batch_.waiting() < batch_.sequences(); }
  std::size_t running() const { return batch_.running(); }
  bool empty() const { return members_.empty(); }

  /// Throws ApiError 400 where the call's prompts do not fit the model, which is then none of the group's.
  void add(std::shared_ptr<Call> call);
  /// Drops calls that were cancelled, and those whose deadline came before their first token (429); then one step of the
  /// model. Those that are answered are gone behind it.
  void step();
  /// Ends all of its calls so.
  void fail(const base::ApiError& error);

 private:
  struct Choice {
    std::uint64_t ticket = 0;
    bool open = true;
    ChoiceWriter writer;
  };
  struct Member {
    std::shared_ptr<Call> call;
    std::chrono::steady_clock::time_point joined;
    std::vector<Choice> choices;
    std::size_t open = 0;  ///< choices
    bool begun = false;    ///< its first token has come
  };
  struct Seat {
    Member* member = nullptr;
    std::size_t choice = 0;
  };

  generate::Request request_of(const Call& call, std::size_t i) const;
  void listen();
  void close(Member& member, Choice& choice);
  void withdraw(Member& member);
  void drop_unwanted();
  void tell_done(const Member& member) const;

  const KnownBase& base_;
  const Options options_;
  const std::int64_t positions_;
  generate::AnyBatch batch_;
  generate::BatchListener listener_;
  std::list<Member> members_;
  std::unordered_map<std::uint64_t, Seat> seats_;  ///< by ticket, of open choices
  std::vector<std::uint64_t> stopped_;  ///< by a stop string in this step: to leave the batch
  std::vector<Member*> broken_;         ///< whose logits are not finite
};

/// 429 `engine_overloaded`.
base::ApiError overloaded(const std::string& why);

}  // namespace finetuned::inference
