#include "storage/objects/concatenation.h"

#include <algorithm>

#include "base/expects.h"

namespace finetuned::objects {

namespace {

constexpr std::size_t kPieceBytes = 1 << 20;

}  // namespace

Concatenation::Concatenation(ObjectStore& store, std::unique_ptr<ObjectWriter> writer, std::vector<std::string> ids,
                             bool with_md5)
    : store_(store), writer_(std::move(writer)), ids_(std::move(ids)), piece_(kPieceBytes) {
  if (with_md5) md5_.emplace();
}

bool Concatenation::copy_some(std::size_t most_bytes) {
  for (std::size_t copied = 0; copied < most_bytes && at_ < ids_.size();) {
    if (!reader_) reader_ = store_.open(ids_[at_]);
    const std::size_t got = reader_->read(offset_, piece_.data(), std::min(piece_.size(), most_bytes - copied));
    if (got == 0) {
      if (offset_ != reader_->size()) throw ObjectMissing(ids_[at_]);  // cut short beneath us
      reader_.reset();
      offset_ = 0;
      ++at_;
      continue;
    }
    const std::string_view data(piece_.data(), got);
    writer_->write(data);
    if (md5_) md5_->update(data);
    offset_ += got;
    copied += got;
  }
  return at_ < ids_.size();
}

std::string Concatenation::md5() {
  base::expects(md5_.has_value() && at_ == ids_.size(), "MD5 is asked of a whole that was to have one");
  return md5_->hex();
}

}  // namespace finetuned::objects
