#include <CLI/CLI.hpp>
#include <iostream>

#include "services/cli/options.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;

void add_balance_command(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("balance", "what the project may spend, holds and has spent");
  auto options = add_api_options(command);
  command.callback([options] {
    ApiClient api = options->connect();
    const json::value balances = api.get("/billing/balances");
    if (options->json) return print_json(balances);
    std::vector<std::vector<std::string>> rows{{"LEDGER", "AVAILABLE", "HELD", "SPENT", "PENDING"}};
    for (const json::value& balance : balances.at("data").as_array()) {
      const auto amount = text_of(balance, "ledger") == "POINTS_MICRO" ? points_cell : dollars_cell;
      rows.push_back({cell(balance, "ledger"), amount(balance, "available"), amount(balance, "held"), amount(balance, "spent"),
                      amount(balance, "pending")});
    }
    std::cout << render_table(rows);
  });
}

}  // namespace finetuned::cli
