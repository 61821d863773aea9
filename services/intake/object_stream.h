#pragma once

#include <istream>
#include <memory>
#include <streambuf>
#include <vector>

#include "storage/objects/object_store.h"

namespace finetuned::intake {

/// An object read as a stream, front to back, a megabyte at a time. What the store throws passes through (the stream
/// has badbit among its exceptions).
class ObjectStream final : public std::istream {
 public:
  ObjectStream(objects::ObjectStore& store, const std::string& id);

 private:
  class Buffer final : public std::streambuf {
   public:
    explicit Buffer(std::unique_ptr<objects::ObjectReader> reader);

   protected:
    int_type underflow() override;

   private:
    std::unique_ptr<objects::ObjectReader> reader_;
    std::vector<char> piece_;
    std::uint64_t offset_ = 0;
  };
  Buffer buffer_;
};

}  // namespace finetuned::intake
