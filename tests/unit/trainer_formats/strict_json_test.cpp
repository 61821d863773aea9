#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "base/errors.h"
#include "base/files.h"
#include "tests/json_cases/refused.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"

namespace finetuned::formats {
namespace {

/// Each file of a model that holds JSON is refused for its JSON, before anything in it is looked at.
class StrictJsonFiles : public testing::Test {
 protected:
  void expect_refused(const std::string& name, const std::function<void()>& open,
                      const std::function<std::string(const std::string&)>& bytes_of) {
    for (const auto& bad : tests::refused_json()) {
      base::write_durably(directory_ / name, bytes_of(bad.text));
      try {
        open();
        ADD_FAILURE() << bad.name << " was accepted";
      } catch (const base::FormatError& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr(bad.why)) << bad.name;
        EXPECT_TRUE(error.offset) << bad.name;
      }
    }
  }

  TemporaryDirectory directory_;
};

std::string as_it_is(const std::string& text) { return text; }

TEST_F(StrictJsonFiles, SafetensorsHeader) {
  expect_refused("x.safetensors", [this] { SafetensorsFile::open(directory_ / "x.safetensors"); },
                 [](const std::string& text) {
                   const std::uint64_t size = text.size();
                   std::string bytes(8, '\0');
                   std::memcpy(bytes.data(), &size, 8);
                   return bytes + text;
                 });
}

TEST_F(StrictJsonFiles, IndexOfShards) {
  expect_refused("model.safetensors.index.json", [this] { Weights::open(directory_.path()); }, as_it_is);
}

TEST_F(StrictJsonFiles, ModelConfig) {
  expect_refused("config.json", [this] { read_model_config(directory_.path()); }, as_it_is);
}

}  // namespace
}  // namespace finetuned::formats
