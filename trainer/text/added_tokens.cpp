#include "trainer/text/added_tokens.h"

#include <utf8proc.h>

#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

bool is_word_character(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  const bool letter = category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
  const bool mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
  const bool number = category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL;
  return letter || mark || number || category == UTF8PROC_CATEGORY_PC;
}

bool is_white_space(char32_t c) {
  if ((c >= 9 && c <= 13) || c == 0x85) return true;
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP;
}

// The character that ends at `end`; size 0 where none does.
Utf8Character character_before(std::string_view text, std::size_t end) {
  for (std::size_t size = 1; size <= 4 && size <= end; ++size) {
    const Utf8Character character = read_utf8(text, end - size);
    if (character.size == size) return character;
  }
  return {};
}

bool touches_word(std::string_view text, std::size_t begin, std::size_t end) {
  const Utf8Character before = character_before(text, begin);
  if (before.size > 0 && is_word_character(before.code_point)) return true;
  if (end == text.size()) return false;
  const Utf8Character after = read_utf8(text, end);
  return after.size > 0 && is_word_character(after.code_point);
}

}  // namespace

std::vector<AddedToken> read_added_tokens(const JsonNode& list) {
  std::vector<AddedToken> tokens;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonNode node = list.item(i);
    AddedToken token;
    const std::int64_t id = node.at("id").integer();
    if (id < 0 || id >= 4'000'000) node.at("id").refuse("an id from 0 to 3999999 is expected");
    token.id = static_cast<std::int32_t>(id);
    token.content = node.at("content").string();
    if (token.content.empty() || token.content.size() > 4096)
      node.at("content").refuse("1 to 4096 bytes are expected");
    token.single_word = node.flag("single_word", false);
    token.lstrip = node.flag("lstrip", false);
    token.rstrip = node.flag("rstrip", false);
    token.special = node.flag("special", false);
    token.normalized = node.flag("normalized", !token.special);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void AddedTokenFinder::add(const AddedToken& token, std::string_view content) {
  if (content.empty()) return;
  std::uint32_t at = 0;
  for (const char byte : content) {
    std::uint32_t next = 0;
    for (const auto& [key, node] : nodes_[at].next)
      if (key == byte) next = node;
    if (next == 0) {
      next = static_cast<std::uint32_t>(nodes_.size());
      nodes_[at].next.emplace_back(byte, next);
      nodes_.emplace_back();
    }
    at = next;
  }
  nodes_[at].token = &token;
  first_bytes_[static_cast<std::uint8_t>(content.front())] = true;
}

AddedTokenFinder::Found AddedTokenFinder::longest_at(std::string_view text, std::size_t at,
                                                     bool take_special) const {
  Found best;
  std::uint32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    std::uint32_t next = 0;
    for (const auto& [key, child] : nodes_[node].next)
      if (key == text[i]) next = child;
    if (next == 0) break;
    node = next;
    const AddedToken* token = nodes_[node].token;
    if (token != nullptr && (take_special || !token->special)) best = {token, at, i + 1};
  }
  return best;
}

std::vector<AddedTokenFinder::Found> AddedTokenFinder::find_all(std::string_view text,
                                                                bool take_special) const {
  std::vector<Found> found;
  if (empty()) return found;
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (!first_bytes_[static_cast<std::uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    Found match = longest_at(text, at, take_special);
    if (match.token == nullptr || (match.token->single_word && touches_word(text, match.begin, match.end))) {
      at = match.token == nullptr ? at + 1 : match.end;
      continue;
    }
    at = match.end;
    if (match.token->lstrip) {
      for (Utf8Character c = character_before(text, match.begin);
           c.size > 0 && match.begin > done && is_white_space(c.code_point);
           c = character_before(text, match.begin))
        match.begin -= c.size;
    }
    while (match.token->rstrip && match.end < text.size()) {
      const Utf8Character c = read_utf8(text, match.end);
      if (c.size == 0 || !is_white_space(c.code_point)) break;
      match.end += c.size;
    }
    at = done = match.end;
    found.push_back(match);
  }
  return found;
}

}  // namespace finetuned::text
