#include "services/gateway/graders/run.h"

#include <array>

namespace finetuned::graders {

namespace {

double grade(const StringCheck& grader, const Sample& sample) {
  return string_check(grader.operation, grader.input.render(sample), grader.reference.render(sample));
}

double grade(const TextSimilarity& grader, const Sample& sample) {
  return text_similarity(grader.metric, grader.input.render(sample), grader.reference.render(sample));
}

template <class Single>
Grading graded(const Single& grader, const Sample& sample) {
  Grading grading;
  try {
    grading.reward = grade(grader, sample);
  } catch (const GradingFailure& failure) {
    grading.failures.push_back({failure.kind, "", failure.what()});
  }
  return grading;
}

Grading graded(const MultiGrader& multi, const Sample& sample) {
  Grading grading;
  std::vector<double> rewards;
  for (std::size_t i = 0; i < multi.graders.size(); ++i) {
    const Grading one = std::visit([&](const auto& grader) { return graded(grader, sample); }, multi.graders[i]);
    for (const Failure& failure : one.failures) grading.failures.push_back({failure.kind, multi.keys[i], failure.message});
    if (!one.failures.empty()) continue;
    rewards.push_back(one.reward);
    grading.sub_rewards.emplace_back(multi.keys[i], one.reward);
  }
  if (!grading.failures.empty()) return grading;
  try {
    grading.reward = multi.formula.evaluate(rewards);
  } catch (const GradingFailure& failure) {
    grading.failures.push_back({failure.kind, "", failure.what()});
  }
  return grading;
}

}  // namespace

Grading run(const Grader& grader, const Sample& sample) {
  return std::visit([&](const auto& one) { return graded(one, sample); }, grader);
}

const std::string& name_of(const Grader& grader) {
  return std::visit([](const auto& one) -> const std::string& { return one.name; }, grader);
}

std::string type_of(const Grader& grader) {
  constexpr std::array<const char*, 3> kTypes{"string_check", "text_similarity", "multi"};
  return kTypes.at(grader.index());
}

}  // namespace finetuned::graders
