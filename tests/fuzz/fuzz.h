#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

/// What each target defines: reads `data` and ends the process where a property does not hold. Exceptions that
/// the room's contract names are caught inside; any other is a fault.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace finetuned::fuzz {

/// Ends the process, in every build, with a line that says what does not hold.
void expect(bool holds, std::string_view property);

std::string_view as_text(const std::uint8_t* data, std::size_t size);

/// A directory of the process's own, gone at its ordinary end.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ~ScratchDirectory();
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void write(std::string_view name, std::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

/// Sizes in which a feed is cut, by a seed: from 1 to `most` bytes, always the same for one seed.
class Cuts {
 public:
  Cuts(std::uint64_t seed, std::size_t most) : state_(seed), most_(most) {}
  std::size_t next();

 private:
  std::uint64_t state_;
  std::size_t most_;
};

/// Calls `feed` with pieces of `bytes`.
template <class Feed>
void feed_in_pieces(std::string_view bytes, Cuts cuts, Feed feed) {
  while (!bytes.empty()) {
    const auto piece = bytes.substr(0, cuts.next());
    bytes.remove_prefix(piece.size());
    feed(piece);
  }
}

}  // namespace finetuned::fuzz
