// The `main` of a target where libFuzzer is not linked: runs it once on each file of the given directories.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <vector>

#include "base/files.h"
#include "tests/fuzz/fuzz.h"

namespace {

constexpr std::uint64_t kMostFileBytes = 1 << 20;

std::vector<std::filesystem::path> files_of(int argc, char** argv) {
  std::vector<std::filesystem::path> files;
  for (int i = 1; i < argc; ++i)
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

int main(int argc, char** argv) try {
  const auto files = files_of(argc, argv);
  for (const auto& file : files) {
    std::printf("%s\n", file.c_str());
    std::fflush(stdout);  // the last line names the file, should the target end the process
    const std::string bytes = finetuned::base::read_file(file, kMostFileBytes);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  std::printf("%zu inputs\n", files.size());
  if (files.empty()) std::fputs("usage: TARGET CORPUS_DIRECTORY...: there must be a file in it\n", stderr);
  return files.empty() ? 2 : 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "an exception that no contract names: %s\n", error.what());
  return 1;
}
