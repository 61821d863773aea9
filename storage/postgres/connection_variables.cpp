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

}  // namespace finetuned::postgres
