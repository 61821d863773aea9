#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/md5.h"
#include "storage/objects/object_store.h"

namespace finetuned::objects {

/// Puts objects one behind the other into a new one, a bounded piece at a call. Destroyed uncommitted, it leaves
/// nothing. One thread at a time.
class Concatenation {
 public:
  /// `store` outlives this. `with_md5`: computes it on the way.
  Concatenation(ObjectStore& store, std::unique_ptr<ObjectWriter> writer, std::vector<std::string> ids, bool with_md5);

  /// Copies at most `most_bytes` (> 0). False once everything is copied. Throws what reading and writing throw:
  /// ObjectMissing where one of the objects is gone.
  bool copy_some(std::size_t most_bytes);
  std::uint64_t bytes_copied() const { return writer_->bytes_written(); }
  /// Of everything copied, in hex. Once, at the end, and only with `with_md5`.
  std::string md5();
  /// ObjectWriter::commit.
  StoredObject commit() { return writer_->commit(); }

 private:
  ObjectStore& store_;
  std::unique_ptr<ObjectWriter> writer_;
  std::vector<std::string> ids_;
  std::optional<base::Md5> md5_;
  std::vector<char> piece_;
  std::size_t at_ = 0;                    ///< the object being read
  std::unique_ptr<ObjectReader> reader_;  ///< of it
  std::uint64_t offset_ = 0;              ///< in it
};

}  // namespace finetuned::objects
