#include "services/gateway/graders/meteor.h"

#include <algorithm>
#include <bit>
#include <tuple>

#include "base/expects.h"

namespace finetuned::graders {

namespace {

constexpr std::size_t kBeam = 32;
constexpr std::size_t kNearest = 4;  // free places tried on either side of the last match
constexpr std::size_t kNone = static_cast<std::size_t>(-1);
constexpr std::size_t kWordBits = 64;
using Bits = std::vector<std::uint64_t>;

bool has(const Bits& bits, std::size_t at) { return bits[at / kWordBits] >> (at % kWordBits) & 1; }

std::size_t bits_above(const Bits& bits, std::size_t at) {
  const std::size_t word = at / kWordBits, shift = at % kWordBits;
  auto count = static_cast<std::size_t>(std::popcount(shift == kWordBits - 1 ? 0 : bits[word] >> (shift + 1)));
  for (std::size_t w = word + 1; w < bits.size(); ++w) count += static_cast<std::size_t>(std::popcount(bits[w]));
  return count;
}

/// A beginning of the input, mapped.
struct State {
  Bits used;                    // places of the reference
  std::size_t last = kNone;     // where the last match went
  std::size_t last_input = kNone;
  std::size_t crosses = 0;
  std::size_t chunks = 0;
};

/// A state's next step: to `place`, or nowhere.
struct Step {
  std::size_t state = 0;
  std::size_t place = kNone;
  std::size_t crosses = 0;
  std::size_t chunks = 0;
};

/// Free places of a word that are worth a try: what continues the last match, and the nearest on both sides of it.
std::vector<std::size_t> places_to_try(const State& state, const std::vector<std::size_t>& places) {
  const std::size_t next = state.last == kNone ? 0 : state.last + 1;
  const auto middle = std::lower_bound(places.begin(), places.end(), next);
  std::vector<std::size_t> tried;
  for (auto at = middle; at != places.end() && tried.size() < kNearest; ++at)
    if (!has(state.used, *at)) tried.push_back(*at);
  const std::size_t after = tried.size();
  for (auto at = middle; at != places.begin() && tried.size() < after + kNearest;)
    if (!has(state.used, *--at)) tried.push_back(*at);
  return tried;
}

/// The steps that a state may take with the input's word at `input`, of which the input has `later` more behind it.
void add_steps(std::vector<Step>& steps, const std::vector<State>& beam, std::size_t index, std::size_t input,
               std::size_t later, const std::vector<std::size_t>& places) {
  const State& state = beam[index];
  const auto free = static_cast<std::size_t>(
      std::count_if(places.begin(), places.end(), [&](std::size_t place) { return !has(state.used, place); }));
  if (later >= free) steps.push_back({index, kNone, state.crosses, state.chunks});  // no match is lost by leaving it out
  for (const std::size_t place : places_to_try(state, places)) {
    const bool goes_on = state.last != kNone && state.last + 1 == place && state.last_input + 1 == input;
    steps.push_back({index, place, state.crosses + bits_above(state.used, place), state.chunks + (goes_on ? 0 : 1)});
  }
}

State taken(const State& from, const Step& step, std::size_t input) {
  State state = from;
  if (step.place == kNone) return state;
  state.used[step.place / kWordBits] |= std::uint64_t{1} << (step.place % kWordBits);
  state.last = step.place;
  state.last_input = input;
  state.crosses = step.crosses;
  state.chunks = step.chunks;
  return state;
}

}  // namespace

Alignment align(const NumberedWords& words) {
  base::expects(words.input.size() <= kMostMeteorWords && words.reference.size() <= kMostMeteorWords, "the words are few enough");
  const std::size_t numbers = words.input.size() + words.reference.size();  // more than there are different words
  std::vector<std::vector<std::size_t>> places(numbers);
  for (std::size_t i = 0; i < words.reference.size(); ++i) places[words.reference[i]].push_back(i);
  std::vector<std::size_t> later(numbers);
  for (const std::uint32_t word : words.input) ++later[word];

  std::vector<State> beam(1);
  beam[0].used.resize((words.reference.size() + kWordBits - 1) / kWordBits);
  for (std::size_t input = 0; input < words.input.size(); ++input) {
    const std::uint32_t word = words.input[input];
    --later[word];
    if (places[word].empty()) continue;
    std::vector<Step> steps;
    for (std::size_t index = 0; index < beam.size(); ++index) add_steps(steps, beam, index, input, later[word], places[word]);
    const std::size_t kept = std::min(kBeam, steps.size());
    std::partial_sort(steps.begin(), steps.begin() + static_cast<std::ptrdiff_t>(kept), steps.end(), [](const Step& a, const Step& b) {
      return std::tie(a.crosses, a.chunks, a.state, a.place) < std::tie(b.crosses, b.chunks, b.state, b.place);
    });
    std::vector<State> next;
    next.reserve(kept);
    for (std::size_t i = 0; i < kept; ++i) next.push_back(taken(beam[steps[i].state], steps[i], input));
    beam = std::move(next);
  }
  const auto best = std::min_element(beam.begin(), beam.end(), [](const State& a, const State& b) {
    return std::tie(a.crosses, a.chunks) < std::tie(b.crosses, b.chunks);
  });
  Alignment alignment;
  for (const std::uint64_t bits : best->used) alignment.matches += static_cast<std::size_t>(std::popcount(bits));
  alignment.crosses = best->crosses;
  alignment.chunks = best->chunks;
  return alignment;
}

double meteor(const NumberedWords& words) {
  const Alignment alignment = align(words);
  if (alignment.matches == 0) return 0;
  const auto m = static_cast<double>(alignment.matches);
  const double precision = m / static_cast<double>(words.input.size());
  const double recall = m / static_cast<double>(words.reference.size());
  const double mean = 10 * precision * recall / (recall + 9 * precision);
  const double share = static_cast<double>(alignment.chunks) / m;
  return mean * (1 - 0.5 * share * share * share);
}

}  // namespace finetuned::graders
