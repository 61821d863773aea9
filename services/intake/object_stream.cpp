#include "services/intake/object_stream.h"

namespace finetuned::intake {

namespace {
constexpr std::size_t kPieceBytes = 1 << 20;
}

ObjectStream::ObjectStream(objects::ObjectStore& store, const std::string& id)
    : std::istream(nullptr), buffer_(store.open(id)) {
  rdbuf(&buffer_);
  exceptions(std::ios::badbit);
}

ObjectStream::Buffer::Buffer(std::unique_ptr<objects::ObjectReader> reader)
    : reader_(std::move(reader)), piece_(kPieceBytes) {}

ObjectStream::Buffer::int_type ObjectStream::Buffer::underflow() {
  const std::size_t got = reader_->read(offset_, piece_.data(), piece_.size());
  if (got == 0) return traits_type::eof();
  offset_ += got;
  setg(piece_.data(), piece_.data(), piece_.data() + got);
  return traits_type::to_int_type(*gptr());
}

}  // namespace finetuned::intake
