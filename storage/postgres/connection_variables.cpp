#include "storage/postgres/connection_variables.h"

#include <libpq-fe.h>

#include <memory>

#include "base/errors.h"

namespace finetuned::postgres {

std::map<std::string, std::string> connection_variables(const std::string& url) {
  char* reason = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> parsed(PQconninfoParse(url.c_str(), &reason), &PQconninfoFree);
  const std::unique_ptr<char, decltype(&PQfreemem)> reason_is_freed(reason, &PQfreemem);
  if (!parsed) throw base::UsageError("database.url cannot be read by libpq");  // whose reason may hold the password
  std::map<std::string, std::string> variables;
  for (const PQconninfoOption* option = parsed.get(); option->keyword; ++option)
    if (option->envvar && option->val) variables[option->envvar] = option->val;
  std::string& options = variables["PGOPTIONS"];
  options += std::string(options.empty() ? "" : " ") + "-c finetuned.scope=system";
  return variables;
}

std::string with_session_options(const std::string& url, const std::string& application_name) {
  const bool is_uri = url.starts_with("postgresql://") || url.starts_with("postgres://");
  const auto add = [&](std::string text, const std::string& key, const std::string& value) {
    if (text.find(key + "=") != std::string::npos) return text;
    if (is_uri) return text + (text.find('?') == std::string::npos ? "?" : "&") + key + "=" + value;
    return text + " " + key + "=" + value;
  };
  return add(add(url, "connect_timeout", "5"), "application_name", application_name);
}

}  // namespace finetuned::postgres
