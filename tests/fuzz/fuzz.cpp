#include "tests/fuzz/fuzz.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/ids.h"

namespace finetuned::fuzz {

void expect(bool holds, std::string_view property) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\n", static_cast<int>(property.size()), property.data());
  std::abort();
}

std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

ScratchDirectory::ScratchDirectory()
    : path_(std::filesystem::temp_directory_path() / base::make_id("finetuned-fuzz")) {
  std::filesystem::create_directories(path_);
}

ScratchDirectory::~ScratchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

void ScratchDirectory::write(std::string_view name, std::string_view bytes) const {
  std::ofstream out(path_ / name, std::ios::binary | std::ios::trunc);
  out << bytes << std::flush;
  expect(out.good(), "the scratch directory can be written to");
}

std::size_t Cuts::next() {
  state_ = state_ * 6364136223846793005u + 1442695040888963407u;  // Knuth's linear congruence
  return 1 + (state_ >> 33) % most_;
}

}  // namespace finetuned::fuzz
