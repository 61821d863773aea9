#include "trainer/text/aligned_text.h"

#include "base/expects.h"

namespace finetuned::text {

AlignedText AlignedText::empty(std::uint32_t base, std::size_t capacity) {
  AlignedText text({}, base);
  text.owned_ = true;
  text.own_text_.reserve(capacity);
  text.begins_.reserve(capacity);
  text.ends_.reserve(capacity);
  return text;
}

AlignedText::AlignedText(AlignedText&& other) noexcept = default;
AlignedText& AlignedText::operator=(AlignedText&& other) noexcept = default;

void AlignedText::append(std::string_view text, std::uint32_t begin, std::uint32_t end) {
  base::expects(owned_, "text is appended to a copy only");
  own_text_ += text;
  begins_.insert(begins_.end(), text.size(), begin);
  ends_.insert(ends_.end(), text.size(), end);
}

void AlignedText::append(const AlignedText& other, std::size_t begin, std::size_t end) {
  base::expects(owned_, "text is appended to a copy only");
  own_text_ += other.text().substr(begin, end - begin);
  for (std::size_t i = begin; i < end; ++i) {
    begins_.push_back(other.begin_of(i));
    ends_.push_back(other.end_of(i));
  }
}

}  // namespace finetuned::text
