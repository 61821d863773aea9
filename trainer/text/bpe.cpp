#include "trainer/text/bpe.h"

#include <algorithm>
#include <limits>
#include <queue>

#include "trainer/text/byte_alphabet.h"
#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

constexpr std::size_t kShortWord = 24;  // symbols up to which looking at every pair beats a heap
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
constexpr std::string_view kMetaspace = "\xE2\x96\x81";

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

std::uint64_t mix(std::uint64_t key) {
  key *= 0x9E3779B97F4A7C15u;
  return key ^ key >> 32;
}

}  // namespace

void BpeModel::insert(const Merge& merge) {
  std::uint64_t slot = mix(merge.pair) & mask_;
  while (merges_[slot].pair != kNoPair) {
    if (merges_[slot].pair == merge.pair) {  // the last one of equal pairs counts, as in Hugging Face
      merges_[slot] = merge;
      return;
    }
    slot = (slot + 1) & mask_;
  }
  merges_[slot] = merge;
}

const BpeModel::Merge* BpeModel::find(std::int32_t left, std::int32_t right) const {
  const std::uint64_t pair = pair_of(left, right);
  for (std::uint64_t slot = mix(pair) & mask_;; slot = (slot + 1) & mask_) {
    if (merges_[slot].pair == pair) return &merges_[slot];
    if (merges_[slot].pair == kNoPair) return nullptr;
  }
}

std::optional<std::int32_t> BpeModel::id_of(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

void BpeModel::encode(const Slice& word, std::vector<TokenSpan>& out) const {
  if (!cut_before_metaspace_) return encode_part(word, out);
  // Where no merge reaches over the beginning of a word, words are merged one by one: same tokens, no long
  // heap.
  const std::string_view text = word.text();
  std::size_t begin = 0;
  for (std::size_t at = text.find(kMetaspace, 1); at != std::string_view::npos;
       at = text.find(kMetaspace, at + 1)) {
    if (at >= kMetaspace.size() && text.substr(at - kMetaspace.size(), kMetaspace.size()) == kMetaspace)
      continue;
    encode_part(Slice{word.source, word.begin + begin, word.begin + at}, out);
    begin = at;
  }
  encode_part(Slice{word.source, word.begin + begin, word.end}, out);
}

void BpeModel::encode_part(const Slice& word, std::vector<TokenSpan>& out) const {
  if (word.empty()) return;
  const std::string_view text = word.text();
  const auto put = [&](std::int32_t id, std::size_t begin, std::size_t end) {
    out.push_back({id, word.source->begin_of(word.begin + begin), word.source->end_of(word.begin + end - 1)});
  };
  if (ignore_merges_) {
    const auto whole = whole_words_.find(std::string(text));
    if (whole != whole_words_.end()) return put(whole->second, 0, text.size());
  }
  thread_local std::vector<Symbol> symbols;
  symbols.clear();
  if (byte_level_)
    byte_symbols(text, symbols);
  else
    character_symbols(text, symbols);
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    symbols[i].previous = i == 0 ? kNone : static_cast<std::uint32_t>(i - 1);
    symbols[i].next = i + 1 == symbols.size() ? kNone : static_cast<std::uint32_t>(i + 1);
  }
  if (symbols.size() <= kShortWord)
    merge_short(symbols);
  else
    merge_long(symbols);
  for (const Symbol& symbol : symbols)
    if (symbol.id >= 0) put(symbol.id, symbol.begin, symbol.end);
  if (symbols.capacity() > (1u << 16)) std::vector<Symbol>().swap(symbols);
}

void BpeModel::encode_byte(std::uint8_t byte, std::uint32_t place, std::vector<TokenSpan>& out) const {
  if (bytes_[byte] >= 0)
    out.push_back({bytes_[byte], place, place + 1});
  else if (unknown_)
    out.push_back({*unknown_, place, place + 1});
}

void BpeModel::byte_symbols(std::string_view text, std::vector<Symbol>& symbols) const {
  for (std::uint32_t i = 0; i < text.size(); ++i) {
    const std::int32_t id = bytes_[static_cast<std::uint8_t>(text[i])];
    if (id >= 0)
      symbols.push_back({id, i, i + 1, kNone, kNone});
    else if (unknown_)
      symbols.push_back({*unknown_, i, i + 1, kNone, kNone});
  }
}

void BpeModel::character_symbols(std::string_view text, std::vector<Symbol>& symbols) const {
  bool after_unknown = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = read_utf8(text, at).size;
    const auto begin = static_cast<std::uint32_t>(at);
    const auto end = static_cast<std::uint32_t>(at + size);
    at += size;
    if (const auto id = id_of(text.substr(begin, size))) {
      symbols.push_back({*id, begin, end, kNone, kNone});
      after_unknown = false;
      continue;
    }
    const auto known = [&](char byte) { return bytes_[static_cast<std::uint8_t>(byte)] >= 0; };
    const std::string_view character = text.substr(begin, size);
    if (byte_fallback_ && std::all_of(character.begin(), character.end(), known)) {
      for (std::uint32_t i = begin; i < end; ++i)
        symbols.push_back({bytes_[static_cast<std::uint8_t>(text[i])], i, i + 1, kNone, kNone});
      after_unknown = false;
    } else if (unknown_) {
      if (after_unknown && fuse_unknown_)
        symbols.back().end = end;
      else
        symbols.push_back({*unknown_, begin, end, kNone, kNone});
      after_unknown = true;
    }
  }
}

// Every round merges the leftmost pair of the lowest rank.
void BpeModel::merge_short(std::vector<Symbol>& symbols) const {
  std::size_t count = symbols.size();
  const Merge* pairs[kShortWord] = {};
  for (std::size_t i = 0; i + 1 < count; ++i)
    pairs[i] = find(symbols[i].id, symbols[i + 1].id);
  while (count > 1) {
    std::size_t best = count;
    for (std::size_t i = 0; i + 1 < count; ++i)
      if (pairs[i] != nullptr && (best == count || pairs[i]->rank < pairs[best]->rank)) best = i;
    if (best == count) break;
    symbols[best].id = pairs[best]->id;
    symbols[best].end = symbols[best + 1].end;
    for (std::size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      pairs[i] = pairs[i + 1];
    }
    --count;
    pairs[best] = best + 1 < count ? find(symbols[best].id, symbols[best + 1].id) : nullptr;
    if (best > 0) pairs[best - 1] = find(symbols[best - 1].id, symbols[best].id);
  }
  symbols.resize(count);
}

void BpeModel::merge_long(std::vector<Symbol>& symbols) const {
  // Rank above, place below: the least is the next merge. An entry whose pair has changed since is passed
  // over; a rank names one pair, so equal ranks mean the same pair.
  std::vector<std::uint64_t> first;
  const auto entry = [&](std::uint32_t left) -> std::optional<std::uint64_t> {
    const std::uint32_t right = symbols[left].next;
    if (right == kNone) return std::nullopt;
    const Merge* merge = find(symbols[left].id, symbols[right].id);
    if (merge == nullptr) return std::nullopt;
    return static_cast<std::uint64_t>(merge->rank) << 32 | left;
  };
  for (std::uint32_t i = 0; i + 1 < symbols.size(); ++i)
    if (const auto value = entry(i)) first.push_back(*value);
  std::priority_queue heap(std::greater<>(), std::move(first));
  while (!heap.empty()) {
    const std::uint64_t top = heap.top();
    heap.pop();
    const auto left = static_cast<std::uint32_t>(top);
    if (symbols[left].id < 0 || entry(left) != top) continue;
    const std::uint32_t right = symbols[left].next;
    symbols[left].id = find(symbols[left].id, symbols[right].id)->id;
    symbols[left].end = symbols[right].end;
    symbols[left].next = symbols[right].next;
    symbols[right].id = -1;
    if (symbols[left].next != kNone) symbols[symbols[left].next].previous = left;
    if (const auto value = entry(left)) heap.push(*value);
    if (symbols[left].previous != kNone)
      if (const auto value = entry(symbols[left].previous)) heap.push(*value);
  }
}

}  // namespace finetuned::text
