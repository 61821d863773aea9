#include "services/inference/directory.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <tuple>

#include "base/log.h"
#include "services/inference/json_fields.h"

namespace finetuned::inference {

namespace {

namespace json = base::json;
using redis::Reply;

constexpr const char* kNames = "finetuned:inference:services";
constexpr std::int64_t kVersion = 1;
constexpr std::int64_t kMostCount = 1 << 30;

std::string key_of(const std::string& name) { return "finetuned:inference:service:" + name; }

json::array texts_json(const std::vector<std::string>& texts, std::size_t most) {
  json::array all;
  for (std::size_t i = 0; i < std::min(texts.size(), most); ++i) all.emplace_back(texts[i]);
  return all;
}

std::string to_text(const Advertisement& service) {
  return json::serialize(json::object{{"v", kVersion},
                                      {"name", service.name},
                                      {"socket", service.socket},
                                      {"bases", texts_json(service.bases, Advertisement::kMostBases)},
                                      {"adapters", texts_json(service.adapters, Advertisement::kMostAdapters)},
                                      {"free_places", service.free_places},
                                      {"queue_length", service.queue_length}});
}

std::vector<std::string> read_texts(const JsonFields& fields, std::string_view key, std::size_t most) {
  std::vector<std::string> texts;
  for (const json::value& one : fields.array(key, 0, most)) texts.push_back(text_of(one, fields.name(key), 1, 256));
  return texts;
}

/// Absent where a service of another version, or no service at all, wrote it.
std::optional<Advertisement> from_text(const std::string& text) {
  try {
    const json::value value = base::parse_json(text, {.depth = 4, .bytes = 1u << 16});
    const JsonFields fields(value, "");
    fields.only({"v", "name", "socket", "bases", "adapters", "free_places", "queue_length"});
    fields.integer("v", kVersion, kVersion);
    return Advertisement{fields.text("name", 1, 128),
                         fields.text("socket", 1, 256),
                         read_texts(fields, "bases", Advertisement::kMostBases),
                         read_texts(fields, "adapters", Advertisement::kMostAdapters),
                         fields.integer("free_places", 0, kMostCount),
                         fields.integer("queue_length", 0, kMostCount)};
  } catch (const std::runtime_error& fault) {
    base::log_debug("an inference service's advertisement cannot be read", {{"error", fault.what()}});
    return std::nullopt;
  }
}

}  // namespace

Directory::Directory(redis::Client& client, DirectoryTimes times) : client_(client), times_(times) {}

bool Directory::advertise(const Advertisement& service) {
  const auto kept = client_.command(
      {"SET", key_of(service.name), to_text(service), "PX", std::to_string(times_.lifetime.count())});
  if (!kept || kept->kind != Reply::Kind::kText) return false;
  const auto named = client_.command({"SADD", kNames, service.name});
  return named && named->kind == Reply::Kind::kInteger;
}

void Directory::withdraw(const std::string& name) {
  client_.command({"DEL", key_of(name)});
  client_.command({"SREM", kNames, name});
}

std::optional<std::vector<Advertisement>> Directory::read_all() {
  const auto names = client_.command({"SRANDMEMBER", kNames, std::to_string(kMostServices)});
  if (!names || names->kind != Reply::Kind::kArray) return std::nullopt;
  std::vector<Advertisement> live;
  if (names->elements.empty()) return live;
  std::vector<std::string> get{"MGET"};
  for (const Reply& name : names->elements) get.push_back(key_of(name.text));
  const auto texts = client_.command(get);
  if (!texts || texts->kind != Reply::Kind::kArray || texts->elements.size() != names->elements.size()) return std::nullopt;
  std::vector<std::string> forget{"SREM", kNames};  // the names of those that died; one that lives names itself again
  for (std::size_t i = 0; i < texts->elements.size(); ++i) {
    if (texts->elements[i].kind != Reply::Kind::kText)
      forget.push_back(names->elements[i].text);
    else if (auto service = from_text(texts->elements[i].text))
      live.push_back(std::move(*service));
  }
  if (forget.size() > 2) client_.command(forget);
  return live;
}

std::vector<Advertisement> Directory::find(std::string_view base) {
  auto live = read_all();
  const auto now = std::chrono::steady_clock::now();
  std::vector<Advertisement> found;
  {
    const std::lock_guard lock(mutex_);
    if (live) {
      known_ = std::move(*live);
      known_at_ = now;
    } else if (known_at_ && now - *known_at_ > times_.remembered) {
      known_.clear();
    }
    found = known_;
  }
  const auto rank = [base](const Advertisement& service) {
    const bool lacks = std::find(service.bases.begin(), service.bases.end(), base) == service.bases.end();
    return std::make_tuple(lacks, -service.free_places, service.queue_length, std::string_view(service.name));
  };
  std::sort(found.begin(), found.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  return found;
}

}  // namespace finetuned::inference
