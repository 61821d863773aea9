#include "base/config.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/settings.h"

namespace finetuned::base {
namespace {

class Config : public testing::Test {
 protected:
  std::filesystem::path file = std::filesystem::temp_directory_path() / (make_id("finetuned-config") + ".toml");
  void TearDown() override {
    std::filesystem::remove(file);
    unsetenv("FINETUNED_GATEWAY_PORT");
    unsetenv("FINETUNED_GATEWAI_PORT");
  }
  std::string faults(const std::string& toml) {
    write_durably(file, toml);
    try {
      load_settings(file);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(Config, EnvironmentWinsOverFileWinsOverDefault) {
  write_durably(file, "[gateway]\nport = 9000\nio_threads = 3\n");
  EXPECT_EQ(load_settings(std::nullopt).gateway.port, 8080);
  EXPECT_EQ(load_settings(file).gateway.port, 9000);
  setenv("FINETUNED_GATEWAY_PORT", "9001", 1);
  const Settings settings = load_settings(file);
  EXPECT_EQ(settings.gateway.port, 9001);
  EXPECT_EQ(settings.gateway.io_threads, 3);
}

TEST_F(Config, TellsAllFaultsTogether) {
  setenv("FINETUNED_GATEWAI_PORT", "1", 1);
  const std::string all = faults("[gateway]\nport = 70000\nprot = 1\n[worker]\nthreads = \"many\"\n[log]\nlevel = \"loud\"\n");
  for (const char* part : {"gateway.port", "at most 65535", "gateway.prot", "worker.threads", "must be a number", "log.level",
                           "FINETUNED_GATEWAI_PORT", "5 fault(s)"})
    EXPECT_NE(all.find(part), std::string::npos) << part << " in\n" << all;
}

TEST_F(Config, NamesTheLineOfBrokenToml) { EXPECT_NE(faults("a = 1\nb = = 2\n").find(":2:"), std::string::npos); }

TEST_F(Config, SampleIsTheDefaults) {
  write_durably(file, config_sample());
  EXPECT_EQ(load_settings(file).gateway.max_upload_bytes, load_settings(std::nullopt).gateway.max_upload_bytes);
}

TEST_F(Config, ReferencePageIsWhatTheTableSays) {
  const auto page = std::filesystem::path(FINETUNED_SOURCE_DIR) / "docs" / "configuration.md";
  EXPECT_EQ(read_file(page, 1 << 20), config_reference())
      << "write it again: finetuned config reference > docs/configuration.md";
}

}  // namespace
}  // namespace finetuned::base
