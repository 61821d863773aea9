// A tokenizer.json, and texts encoded by it where it is accepted.
#include "base/errors.h"
#include "tests/fuzz/fuzz.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::fuzz {
namespace {

void check(const text::Tokenizer& tokenizer, std::string_view input) {
  const auto spans = tokenizer.encode_spans(input);
  const auto ids = tokenizer.encode(input);
  expect(spans.size() == ids.size(), "encoding with and without places gives the same tokens");
  std::uint32_t at = 0;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    expect(spans[i].id == ids[i], "both ways give the same ids");
    expect(ids[i] >= 0 && ids[i] < tokenizer.vocabulary_size(), "ids are in the vocabulary");
    expect(at <= spans[i].begin && spans[i].begin <= spans[i].end && spans[i].end <= input.size(),
           "places never decrease");
    at = spans[i].begin;
  }
  tokenizer.decode(ids);
  expect(tokenizer.encode(input) == ids, "the same text gives the same tokens");
}

}  // namespace
}  // namespace finetuned::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace finetuned;
  static const fuzz::ScratchDirectory directory;
  directory.write("tokenizer.json", fuzz::as_text(data, size));
  try {
    const auto tokenizer = text::Tokenizer::load(directory.path());
    for (const std::string_view input :
         {"", "Hello, world  42!\n\n", "<s>[INST] na\xC3\xAFve \xE2\x96\x81 \xF0\x9F\x98\x80</s>", "\xff\xfe\xC3",
          "aaaaaaaaaaaaaaaaaaaaaaaab"})
      fuzz::check(tokenizer, input);
  } catch (const base::FormatError&) {
  }
  return 0;
}
