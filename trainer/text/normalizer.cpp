#include "trainer/text/normalizer.h"

#include "base/errors.h"
#include "trainer/text/utf8.h"

namespace finetuned::text {

Normalizer::Normalizer(const JsonNode& node) {
  add(node, 0);
}

void Normalizer::add(const JsonNode& node, int depth) {
  const std::string type = node.at("type").string();
  if (type == "Sequence") {
    if (depth > 4) node.refuse("sequences are nested more than 4 deep");
    const JsonNode list = node.at("normalizers");
    for (std::size_t i = 0; i < list.size(); ++i)
      add(list.item(i), depth + 1);
  } else if (type == "NFC") {
    steps_.push_back({Step::Kind::kNfc, {}, {}, nullptr});
  } else if (type == "Prepend") {
    steps_.push_back({Step::Kind::kPrepend, {}, node.at("prepend").string(), nullptr});
  } else if (type == "Replace") {
    const JsonNode pattern = node.at("pattern");
    const std::string content = node.at("content").string();
    if (const auto literal = pattern.find("String")) {
      if (literal->string().empty()) literal->refuse("is empty");
      steps_.push_back({Step::Kind::kReplace, literal->string(), content, nullptr});
    } else {
      const JsonNode regex = pattern.at("Regex");
      steps_.push_back({Step::Kind::kReplaceRegex,
                        {},
                        content,
                        std::make_shared<Regex>(node.file(), regex.path(), regex.string())});
    }
  } else {
    node.refuse("the normalizer '" + type +
                "' is not supported; known are NFC, Prepend, Replace and Sequence");
  }
}

AlignedText Normalizer::run(AlignedText text) const {
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::Kind::kNfc:
        text = normalize_nfc(std::move(text));
        break;
      case Step::Kind::kReplace:
        text = replace(step, std::move(text));
        break;
      case Step::Kind::kReplaceRegex:
        text = replace_regex(step, std::move(text));
        break;
      case Step::Kind::kPrepend:
        if (!text.text().empty()) {
          AlignedText longer = AlignedText::empty(text.base(), text.text().size() + step.content.size());
          longer.append(step.content, text.begin_of(0), text.begin_of(0));
          longer.append(text, 0, text.text().size());
          text = std::move(longer);
        }
        break;
    }
  }
  return text;
}

AlignedText Normalizer::replace(const Step& step, AlignedText text) {
  const std::string_view from = text.text();
  std::size_t found = from.find(step.pattern);
  if (found == std::string_view::npos) return text;
  AlignedText out = AlignedText::empty(text.base(), from.size() + from.size() / 2);
  std::size_t copied = 0;
  for (; found != std::string_view::npos; found = from.find(step.pattern, copied)) {
    const std::size_t end = found + step.pattern.size();
    out.append(text, copied, found);
    out.append(step.content, text.begin_of(found), text.end_of(end - 1));
    copied = end;
  }
  out.append(text, copied, from.size());
  return out;
}

AlignedText Normalizer::replace_regex(const Step& step, AlignedText text) {
  const std::string_view from = text.text();
  AlignedText out = AlignedText::empty(text.base(), from.size());
  Regex::Search search(*step.regex, from);
  std::size_t copied = 0;
  for (std::size_t at = 0; at <= from.size();) {
    const std::optional<Match> match = search.next(at);
    if (!match) break;
    if (match->begin == match->end) {  // an empty match replaces nothing
      if (match->end == from.size()) break;
      at = match->end + read_utf8(from, match->end).size;
      continue;
    }
    out.append(text, copied, match->begin);
    out.append(step.content, text.begin_of(match->begin), text.end_of(match->end - 1));
    copied = at = match->end;
  }
  out.append(text, copied, from.size());
  return out;
}

}  // namespace finetuned::text
