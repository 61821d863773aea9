#include "trainer/text/bpe_trainer.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <map>
#include <queue>
#include <unordered_map>

#include "base/errors.h"
#include "base/expects.h"
#include "base/files.h"
#include "base/json.h"
#include "trainer/text/byte_alphabet.h"
#include "trainer/text/regex.h"
#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace json = base::json;

namespace {

// Qwen2's words: contractions, letters with one sign before them, single digits, signs, line ends, white
// space.
constexpr std::string_view kWords =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Word {
  std::vector<std::int32_t> symbols;
  std::int64_t count = 0;
};

std::vector<Word> words_of(std::string_view text) {
  const Regex regex("the training text", "", kWords);
  Regex::Search search(regex, text);
  std::map<std::string, std::int64_t, std::less<>>
      counts;  // ordered: the order of words must not depend on hashing
  for (std::size_t at = 0; at < text.size();) {
    const std::optional<Match> match = search.next(at);
    if (!match || match->end == at) break;
    ++counts[std::string(text.substr(match->begin, match->end - match->begin))];
    at = match->end;
  }
  std::vector<Word> words;
  for (const auto& [bytes, count] : counts) {
    Word word{{}, count};
    for (const char byte : bytes)
      word.symbols.push_back(static_cast<std::uint8_t>(byte));
    words.push_back(std::move(word));
  }
  return words;
}

class Trainer {
 public:
  explicit Trainer(std::vector<Word> words) : words_(std::move(words)) {
    for (int byte = 0; byte < 256; ++byte)
      pieces_.emplace_back(1, static_cast<char>(byte));
    for (std::uint32_t i = 0; i < words_.size(); ++i)
      for (std::size_t j = 0; j + 1 < words_[i].symbols.size(); ++j)
        change(pair_of(words_[i].symbols[j], words_[i].symbols[j + 1]), words_[i].count, i);
    for (const auto& [pair, entry] : pairs_)
      queue_.push({entry.count, pair});
  }

  std::vector<std::pair<std::string, std::string>> run(std::int32_t merges) {
    std::vector<std::pair<std::string, std::string>> made;
    while (std::ssize(made) < merges) {
      const std::optional<std::uint64_t> best = take_best();
      if (!best) break;
      const auto left = static_cast<std::int32_t>(*best >> 32);
      const auto right = static_cast<std::int32_t>(*best & 0xFFFFFFFF);
      const std::string joined = piece(left) + piece(right);
      made.emplace_back(piece(left), piece(right));
      // Two pairs can spell one piece; they share its symbol, as they share its vocabulary entry.
      const auto [known, fresh] = symbols_.emplace(joined, static_cast<std::int32_t>(pieces_.size()));
      if (fresh) pieces_.push_back(joined);
      merge(*best, left, right, known->second);
    }
    return made;
  }

 private:
  struct Entry {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // may hold a word twice, or one that has the pair no more
  };
  struct Candidate {
    std::int64_t count;
    std::uint64_t pair;
  };
  struct Worse {
    const Trainer* trainer;
    bool operator()(const Candidate& a, const Candidate& b) const {
      if (a.count != b.count) return a.count < b.count;
      const auto left = trainer->piece(static_cast<std::int32_t>(a.pair >> 32))
                            .compare(trainer->piece(static_cast<std::int32_t>(b.pair >> 32)));
      if (left != 0) return left > 0;
      return trainer->piece(static_cast<std::int32_t>(a.pair & 0xFFFFFFFF)) >
             trainer->piece(static_cast<std::int32_t>(b.pair & 0xFFFFFFFF));
    }
  };

  static std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
  }
  const std::string& piece(std::int32_t symbol) const { return pieces_[static_cast<std::size_t>(symbol)]; }

  void change(std::uint64_t pair, std::int64_t by, std::uint32_t word) {
    Entry& entry = pairs_[pair];
    entry.count += by;
    if (by > 0 && (entry.words.empty() || entry.words.back() != word)) entry.words.push_back(word);
  }

  // Counts in the queue may be out of date: an entry counts only when it still says the truth.
  std::optional<std::uint64_t> take_best() {
    while (!queue_.empty()) {
      const Candidate top = queue_.top();
      queue_.pop();
      if (top.count < 2) return std::nullopt;
      const auto entry = pairs_.find(top.pair);
      if (entry == pairs_.end()) continue;
      if (entry->second.count == top.count) return top.pair;
      if (entry->second.count > 1 && entry->second.count < top.count)
        queue_.push({entry->second.count, top.pair});
    }
    return std::nullopt;
  }

  void merge(std::uint64_t pair, std::int32_t left, std::int32_t right, std::int32_t symbol) {
    std::vector<std::uint32_t> touched = std::move(pairs_[pair].words);
    pairs_.erase(pair);
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    std::map<std::uint64_t, bool> grown;
    for (const std::uint32_t index : touched) {
      Word& word = words_[index];
      std::vector<std::int32_t> merged;
      for (std::size_t i = 0; i < word.symbols.size(); ++i) {
        const bool here =
            i + 1 < word.symbols.size() && word.symbols[i] == left && word.symbols[i + 1] == right;
        merged.push_back(here ? symbol : word.symbols[i]);
        if (here) ++i;
      }
      if (merged.size() == word.symbols.size()) continue;
      for (std::size_t i = 0; i + 1 < word.symbols.size(); ++i) {
        const std::uint64_t old = pair_of(word.symbols[i], word.symbols[i + 1]);
        if (old != pair) change(old, -word.count, index);
      }
      for (std::size_t i = 0; i + 1 < merged.size(); ++i) {
        const std::uint64_t now = pair_of(merged[i], merged[i + 1]);
        change(now, word.count, index);
        grown[now] = true;
      }
      word.symbols = std::move(merged);
    }
    pairs_.erase(pair);
    for (const auto& [now, unused] : grown)
      if (const auto entry = pairs_.find(now); entry != pairs_.end()) queue_.push({entry->second.count, now});
  }

  std::vector<Word> words_;
  std::vector<std::string> pieces_;                        // by symbol
  std::unordered_map<std::string, std::int32_t> symbols_;  // of the merged pieces
  std::unordered_map<std::uint64_t, Entry> pairs_;
  std::priority_queue<Candidate, std::vector<Candidate>, Worse> queue_{Worse{this}};
};

json::object special_entry(std::int32_t id, const std::string& content) {
  return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", false}, {"special", true}};
}

json::object byte_level_part() {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
}

json::object tokenizer_json(const std::vector<std::pair<std::string, std::string>>& merges,
                            const std::vector<std::string>& specials) {
  std::vector<char32_t> bytes;
  for (int byte = 0; byte < 256; ++byte)
    bytes.push_back(byte_to_printable(static_cast<std::uint8_t>(byte)));
  std::sort(bytes.begin(), bytes.end());
  json::object vocabulary;
  for (const char32_t c : bytes) {
    std::string entry;
    append_utf8(entry, c);
    vocabulary[entry] = vocabulary.size();
  }
  json::array merge_list;
  for (const auto& [left, right] : merges) {
    const std::string a = to_printable(left);
    const std::string b = to_printable(right);
    merge_list.emplace_back(a + " " + b);
    if (!vocabulary.contains(a + b)) vocabulary[a + b] = vocabulary.size();
  }
  json::array added;
  auto id = static_cast<std::int32_t>(vocabulary.size());
  for (const std::string& special : specials)
    added.push_back(special_entry(id++, special));
  const json::object split{{"type", "Split"},
                           {"pattern", json::object{{"Regex", kWords}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  json::array steps;
  steps.emplace_back(split);
  steps.emplace_back(byte_level_part());
  const json::object pre{{"type", "Sequence"}, {"pretokenizers", steps}};
  const json::object model{{"type", "BPE"},
                           {"dropout", nullptr},
                           {"unk_token", nullptr},
                           {"continuing_subword_prefix", nullptr},
                           {"end_of_word_suffix", nullptr},
                           {"fuse_unk", false},
                           {"byte_fallback", false},
                           {"ignore_merges", false},
                           {"vocab", vocabulary},
                           {"merges", merge_list}};
  return {{"version", "1.0"},          {"truncation", nullptr},        {"padding", nullptr},
          {"added_tokens", added},     {"normalizer", nullptr},        {"pre_tokenizer", pre},
          {"post_processor", nullptr}, {"decoder", byte_level_part()}, {"model", model}};
}

void check(const BpeTrainerOptions& options) {
  const auto least = 256 + static_cast<std::int64_t>(options.special_tokens.size());
  if (options.vocabulary_size < least || options.vocabulary_size > 1'000'000)
    throw base::UsageError("the vocabulary size must be from " + std::to_string(least) +
                           " (256 bytes and the special tokens) to 1000000, not " +
                           std::to_string(options.vocabulary_size));
  for (const std::string* token : {&options.bos_token, &options.eos_token, &options.pad_token})
    if (!token->empty() && std::find(options.special_tokens.begin(), options.special_tokens.end(), *token) ==
                               options.special_tokens.end())
      throw base::UsageError("'" + *token + "' is not among the special tokens");
  if (options.add_bos && options.bos_token.empty())
    throw base::UsageError("a bos token is to be added, but none is named");
}

}  // namespace

std::vector<std::pair<std::string, std::string>> train_bpe_merges(std::string_view text,
                                                                  std::int32_t merges) {
  if (valid_utf8_prefix(text) != text.size()) throw base::UsageError("the training text is not UTF-8");
  auto made = Trainer(words_of(text)).run(merges);
  for (auto& [left, right] : made) {
    left = to_printable(left);
    right = to_printable(right);
  }
  return made;
}

void train_bpe_tokenizer(std::string_view text, const BpeTrainerOptions& options,
                         const std::filesystem::path& directory) {
  check(options);
  if (valid_utf8_prefix(text) != text.size()) throw base::UsageError("the training text is not UTF-8");
  const auto merges =
      Trainer(words_of(text))
          .run(options.vocabulary_size - 256 - static_cast<std::int32_t>(options.special_tokens.size()));
  json::object config{{"tokenizer_class", "PreTrainedTokenizerFast"},
                      {"add_bos_token", options.add_bos},
                      {"clean_up_tokenization_spaces", false},
                      {"model_max_length", options.model_max_length}};
  const auto name = [&](const char* key, const std::string& token) {
    if (token.empty())
      config[key] = nullptr;
    else
      config[key] = token;
  };
  name("bos_token", options.bos_token);
  name("eos_token", options.eos_token);
  name("pad_token", options.pad_token);
  if (!options.chat_template.empty()) config["chat_template"] = options.chat_template;
  base::write_durably(directory / "tokenizer.json",
                      json::serialize(tokenizer_json(merges, options.special_tokens)));
  base::write_durably(directory / "tokenizer_config.json", json::serialize(config));
}

}  // namespace finetuned::text
