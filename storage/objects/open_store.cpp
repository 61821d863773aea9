#include "storage/objects/open_store.h"

#include <sys/stat.h>

#include <map>
#include <sstream>

#include "base/errors.h"
#include "base/files.h"
#include "base/settings.h"
#include "storage/objects/cached_store.h"
#include "storage/objects/local_store.h"
#include "storage/objects/s3_store.h"

namespace finetuned::objects {

namespace {

constexpr std::uint64_t kMostCredentialBytes = 64 * 1024;

void read_credentials(const std::string& file, S3Options& options) {
  struct stat about {};
  if (::stat(file.c_str(), &about) != 0) throw base::ConfigError("storage.s3_credentials_file: '" + file + "' cannot be read");
  if ((about.st_mode & 077) != 0)
    throw base::ConfigError("storage.s3_credentials_file: '" + file + "' can be read by others: chmod 600 it");
  std::map<std::string, std::string> values;
  std::istringstream lines(base::read_file(file, kMostCredentialBytes));
  for (std::string line; std::getline(lines, line);)
    if (const auto equals = line.find('='); equals != std::string::npos) values[line.substr(0, equals)] = line.substr(equals + 1);
  options.access_key_id = values["AWS_ACCESS_KEY_ID"];
  options.secret_access_key = values["AWS_SECRET_ACCESS_KEY"];
  options.session_token = values["AWS_SESSION_TOKEN"];
}

S3Options s3_options(const base::Settings::Storage& settings) {
  S3Options options{.endpoint = settings.s3_endpoint,
                    .region = settings.s3_region,
                    .bucket = settings.s3_bucket,
                    .prefix = settings.s3_prefix,
                    .access_key_id = settings.s3_access_key_id,
                    .secret_access_key = settings.s3_secret_access_key,
                    .session_token = settings.s3_session_token,
                    .ca_file = settings.s3_ca_file,
                    .timeout = std::chrono::seconds(settings.s3_timeout_seconds)};
  if (!settings.s3_credentials_file.empty()) read_credentials(settings.s3_credentials_file, options);
  return options;
}

}  // namespace

std::unique_ptr<ObjectStore> open_store(const base::Settings& settings) {
  if (settings.storage.kind == "s3") return std::make_unique<S3Store>(s3_options(settings.storage));
  return std::make_unique<LocalStore>(std::filesystem::absolute(settings.data_directory) / "objects");
}

std::chrono::milliseconds longest_silence(const base::Settings& settings) {
  if (settings.storage.kind != "s3") return {};
  const S3Options defaults;
  return defaults.tries * (std::chrono::seconds(settings.storage.s3_timeout_seconds) + S3Client::kLongestPause);
}

std::unique_ptr<ObjectStore> open_cached_store(const base::Settings& settings) {
  auto store = open_store(settings);
  if (settings.storage.kind != "s3" || settings.storage.cache_bytes == 0) return store;
  return std::make_unique<CachedStore>(std::move(store), std::filesystem::absolute(settings.data_directory) / "cache",
                                       static_cast<std::uint64_t>(settings.storage.cache_bytes));
}

}  // namespace finetuned::objects
