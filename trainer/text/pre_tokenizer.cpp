#include "trainer/text/pre_tokenizer.h"

#include <utf8proc.h>

#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

// GPT-2's own words: contractions, letters, digits and other signs with the space before them, white space.
constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

bool is_number(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_NO;
}

}  // namespace

void PreTokenizer::run(const AlignedText& text, WordSink& sink) const {
  if (!text.text().empty()) step(0, Slice{&text, 0, text.text().size()}, sink);
}

void PreTokenizer::step(std::size_t at, const Slice& slice, WordSink& sink) const {
  if (slice.empty()) return;
  if (at == steps_.size()) return sink.word(slice);
  const Step& now = steps_[at];
  switch (now.kind) {
    case Step::Kind::kSplit:
      if (now.regex && now.behavior == Behavior::kIsolated) return isolate(at, slice, sink);
      return emit(at, slice, parts_of(now, slice.text()), now.behavior, sink);
    case Step::Kind::kDigits:
      return emit(at, slice, digit_parts(now, slice.text()), Behavior::kIsolated, sink);
    case Step::Kind::kPrefixSpace: {
      if (slice.text().front() == ' ') return step(at + 1, slice, sink);
      AlignedText longer = AlignedText::empty(slice.source->base(), slice.text().size() + 1);
      longer.append(" ", slice.input_begin(), slice.input_begin());
      longer.append(*slice.source, slice.begin, slice.end);
      return step(at + 1, Slice{&longer, 0, longer.text().size()}, sink);
    }
    case Step::Kind::kMetaspace:
      return metaspace(at, slice, sink);
  }
}

// The commonest step by far: matches and what lies between them, handed on without a list of parts.
void PreTokenizer::isolate(std::size_t at, const Slice& slice, WordSink& sink) const {
  const std::string_view text = slice.text();
  Regex::Search search(*steps_[at].regex, text);
  std::size_t done = 0;
  for (std::size_t from = 0; from < text.size();) {
    const std::optional<Match> match = search.next(from);
    if (!match) break;
    if (match->end == match->begin) {
      if (match->end == text.size()) break;
      from = match->end + read_utf8(text, match->end).size;
      continue;
    }
    step(at + 1, Slice{slice.source, slice.begin + done, slice.begin + match->begin}, sink);
    step(at + 1, Slice{slice.source, slice.begin + match->begin, slice.begin + match->end}, sink);
    done = from = match->end;
  }
  step(at + 1, Slice{slice.source, slice.begin + done, slice.end}, sink);
}

void PreTokenizer::metaspace(std::size_t at, const Slice& slice, WordSink& sink) const {
  const Step& now = steps_[at];
  const std::string_view text = slice.text();
  AlignedText out = AlignedText::empty(slice.source->base(), text.size() + text.size() / 2 + 3);
  const bool first =
      now.prepend == Prepend::kAlways || (now.prepend == Prepend::kFirst && slice.input_begin() == 0);
  if (first && text.front() != ' ' && !text.starts_with(now.literal))
    out.append(now.literal, slice.input_begin(), slice.input_begin());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const std::size_t place = slice.begin + i;
    if (text[i] == ' ')
      out.append(now.literal, slice.source->begin_of(place), slice.source->end_of(place));
    else
      out.append(*slice.source, place, place + 1);
  }
  const Slice whole{&out, 0, out.text().size()};
  if (!now.split) return step(at + 1, whole, sink);
  Step by_replacement;
  by_replacement.literal = now.literal;
  emit(at, whole, parts_of(by_replacement, whole.text()), Behavior::kMergedWithNext, sink);
}

// Cuts a text into matches and the gaps between them.
std::vector<PreTokenizer::Part> PreTokenizer::parts_of(const Step& step, std::string_view text) {
  std::vector<Part> parts;
  std::size_t done = 0;
  const auto add = [&](std::size_t begin, std::size_t end) {
    if (begin > done) parts.push_back({done, begin, step.invert});
    parts.push_back({begin, end, !step.invert});
    done = end;
  };
  if (step.regex) {
    Regex::Search search(*step.regex, text);
    for (std::size_t from = 0; from < text.size();) {
      const std::optional<Match> match = search.next(from);
      if (!match || (match->begin == match->end && match->end == text.size())) break;
      if (match->begin == match->end) {
        from = match->end + read_utf8(text, match->end).size;
        continue;
      }
      add(match->begin, match->end);
      from = match->end;
    }
  } else {
    for (std::size_t found = text.find(step.literal); found != std::string_view::npos;
         found = text.find(step.literal, done))
      add(found, found + step.literal.size());
  }
  if (done < text.size()) parts.push_back({done, text.size(), step.invert});
  return parts;
}

std::vector<PreTokenizer::Part> PreTokenizer::digit_parts(const Step& step, std::string_view text) {
  std::vector<Part> parts;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character character = read_utf8(text, at);
    const bool digit = is_number(character.code_point);
    const bool joins = !parts.empty() && parts.back().match == digit && !(digit && step.individual_digits);
    if (joins)
      parts.back().end = at + character.size;
    else
      parts.push_back({at, at + character.size, digit});
    at += character.size;
  }
  return parts;
}

void PreTokenizer::emit(std::size_t at, const Slice& slice, const std::vector<Part>& parts, Behavior behavior,
                        WordSink& sink) const {
  std::vector<Part> joined;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const Part* previous = i > 0 ? &parts[i - 1] : nullptr;
    bool join = false;
    switch (behavior) {
      case Behavior::kRemoved:
        if (part.match) continue;
        break;
      case Behavior::kIsolated:
        break;
      case Behavior::kContiguous:
        join = previous != nullptr && previous->match == part.match;
        break;
      case Behavior::kMergedWithPrevious:
        join = previous != nullptr && part.match && !previous->match;
        break;
      case Behavior::kMergedWithNext:
        join = previous != nullptr && !part.match && previous->match;
        break;
    }
    if (join)
      joined.back().end = part.end;
    else
      joined.push_back(part);
  }
  for (const Part& part : joined)
    step(at + 1, Slice{slice.source, slice.begin + part.begin, slice.begin + part.end}, sink);
}

PreTokenizer::PreTokenizer(const JsonNode& node) {
  add(node, 0);
}

void PreTokenizer::add(const JsonNode& node, int depth) {
  const std::string type = node.at("type").string();
  if (byte_level_) node.refuse("nothing can stand behind ByteLevel");
  if (type == "Sequence") {
    if (depth > 4) node.refuse("sequences are nested more than 4 deep");
    const JsonNode list = node.at("pretokenizers");
    for (std::size_t i = 0; i < list.size(); ++i)
      add(list.item(i), depth + 1);
  } else if (type == "Split") {
    add_split(node);
  } else if (type == "ByteLevel") {
    add_byte_level(node);
  } else if (type == "Digits") {
    Step step;
    step.kind = Step::Kind::kDigits;
    step.individual_digits = node.flag("individual_digits", false);
    steps_.push_back(std::move(step));
  } else if (type == "Metaspace") {
    add_metaspace(node);
  } else {
    node.refuse("the pre-tokenizer '" + type +
                "' is not supported; known are Split, ByteLevel, Digits, Metaspace and Sequence");
  }
  if (steps_.size() > 64) node.refuse("has more than 64 steps");
}

void PreTokenizer::add_split(const JsonNode& node) {
  Step step;
  const JsonNode pattern = node.at("pattern");
  if (const auto literal = pattern.find("String")) {
    step.literal = literal->string();
    if (step.literal.empty()) literal->refuse("is empty");
  } else {
    const JsonNode regex = pattern.at("Regex");
    step.regex = std::make_shared<Regex>(node.file(), regex.path(), regex.string());
  }
  const std::string behavior = node.at("behavior").string();
  if (behavior == "Isolated")
    step.behavior = Behavior::kIsolated;
  else if (behavior == "Removed")
    step.behavior = Behavior::kRemoved;
  else if (behavior == "MergedWithPrevious")
    step.behavior = Behavior::kMergedWithPrevious;
  else if (behavior == "MergedWithNext")
    step.behavior = Behavior::kMergedWithNext;
  else if (behavior == "Contiguous")
    step.behavior = Behavior::kContiguous;
  else
    node.at("behavior").refuse("the behaviour '" + behavior + "' is not known");
  step.invert = node.flag("invert", false);
  steps_.push_back(std::move(step));
}

void PreTokenizer::add_byte_level(const JsonNode& node) {
  if (node.flag("add_prefix_space", true)) {
    Step space;
    space.kind = Step::Kind::kPrefixSpace;
    steps_.push_back(std::move(space));
  }
  if (node.flag("use_regex", true)) {
    Step words;
    words.regex = std::make_shared<Regex>(node.file(), node.path(), kGpt2Words);
    steps_.push_back(std::move(words));
  }
  byte_level_ = true;
}

void PreTokenizer::add_metaspace(const JsonNode& node) {
  Step step;
  step.kind = Step::Kind::kMetaspace;
  step.literal = node.at("replacement").string();
  if (step.literal.empty()) node.at("replacement").refuse("is empty");
  step.split = node.flag("split", true);
  step.prepend = node.flag("add_prefix_space", true) ? Prepend::kAlways : Prepend::kNever;
  if (const auto scheme = node.find("prepend_scheme")) {
    const std::string name = scheme->string();
    if (name == "always")
      step.prepend = Prepend::kAlways;
    else if (name == "first")
      step.prepend = Prepend::kFirst;
    else if (name == "never")
      step.prepend = Prepend::kNever;
    else
      scheme->refuse("the scheme '" + name + "' is not known");
  }
  steps_.push_back(std::move(step));
}

}  // namespace finetuned::text
