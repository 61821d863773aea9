#include <CLI/CLI.hpp>
#include <charconv>
#include <iostream>

#include "base/money.h"
#include "services/cli/options.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

/// An amount as the API sends it (a string of nano-dollars), for people.
std::string dollars(const json::value& object, const char* name) {
  const std::string text = text_of(object, name);
  base::NanoDollars amount;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), amount.value);
  return error == std::errc() && end == text.data() + text.size() ? base::format_dollars(amount) : cell(object, name);
}

}  // namespace

void add_balance_command(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("balance", "what the project may spend, holds and has spent");
  auto options = add_api_options(command);
  command.callback([options] {
    ApiClient api = options->connect();
    const json::value balances = api.get("/billing/balances");
    if (options->json) return print_json(balances);
    std::vector<std::vector<std::string>> rows{{"LEDGER", "AVAILABLE", "HELD", "SPENT"}};
    for (const json::value& balance : balances.at("data").as_array())
      rows.push_back({cell(balance, "ledger"), dollars(balance, "available"), dollars(balance, "held"),
                      dollars(balance, "spent")});
    std::cout << render_table(rows);
  });
}

}  // namespace finetuned::cli
