#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <iostream>

#include "base/errors.h"
#include "base/files.h"
#include "services/cli/api_commands.h"
#include "services/cli/options.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

constexpr const char* kChallenges = "/challenges";
constexpr const char* kOfOrganization = "/organization/challenges";

std::string path_of(const char* list, const std::string& id, const std::string& below = "") {
  return std::string(list) + "/" + ApiClient::escape(id) + below;
}

json::object read_object(const std::string& file) {
  try {
    json::value value = base::parse_json(base::read_file(file, 1 << 20));
    if (value.is_object()) return std::move(value.get_object());
  } catch (const std::exception& error) {
    throw base::UsageError(file + " cannot be read as JSON: " + error.what());
  }
  throw base::UsageError(file + " holds no JSON object");
}

/// The names of a recipe and their values, one after the other.
std::string recipe_text(const json::value& recipe) {
  std::string text;
  if (!recipe.is_object()) return "-";
  for (const auto& [name, value] : recipe.get_object())
    if (!value.is_null()) text += (text.empty() ? "" : " ") + std::string(name) + "=" + printable(json::serialize(value));
  return text;
}

std::string table_of(const json::value& challenges) {
  std::vector<std::vector<std::string>> rows{{"CHALLENGE", "STATUS", "MODEL", "METRIC", "TARGET", "REWARD", "LEFT", "NAME"}};
  for (const json::value& challenge : challenges.at("data").as_array())
    rows.push_back({cell(challenge, "id"), cell(challenge, "status"), cell(challenge, "model"), cell(challenge, "metric"),
                    cell(challenge, "target"), points_cell(challenge, "reward"), points_cell(challenge, "reward_left"), cell(challenge, "name")});
  return render_table(rows);
}

std::string describe(const json::value& challenge) {
  return render_table({{"challenge", cell(challenge, "id")},
                       {"name", cell(challenge, "name")},
                       {"about", cell(challenge, "description")},
                       {"status", cell(challenge, "status")},
                       {"model", cell(challenge, "model")},
                       {"metric", cell(challenge, "metric")},
                       {"target", cell(challenge, "target")},
                       {"margin", cell(challenge, "margin")},
                       {"reward", points_cell(challenge, "reward")},
                       {"of it left", points_cell(challenge, "reward_left")},
                       {"tokens a run", cell(challenge, "token_budget")},
                       {"seeds", json::serialize(challenge.at("seeds"))},
                       {"to beat", recipe_text(challenge.at("incumbent").at("recipe"))}});
}

std::string describe_contribution(const json::value& contribution) {
  return render_table({{"contribution", cell(contribution, "id")},
                       {"status", cell(contribution, "status")},
                       {"reason", cell(contribution, "reason")},
                       {"incumbent", cell(contribution, "incumbent_mean")},
                       {"yours", cell(contribution, "contribution_mean")},
                       {"p", cell(contribution, "p_value")},
                       {"award", points_cell(contribution, "award")},
                       {"spendable", points_cell(contribution, "vested")},
                       {"pending", points_cell(contribution, "pending")}});
}

void add_listing(CLI::App& challenges, const char* list, const char* what) {
  CLI::App& command = *challenges.add_subcommand("list", what);
  auto options = add_api_options(command);
  auto limit = std::make_shared<int>(20);
  command.add_option("--limit", *limit, "at most so many")->capture_default_str();
  if (std::string(list) == kOfOrganization) command.get_option("--key")->envname("FINETUNED_ADMIN_KEY");
  command.callback([options, limit, list] {
    ApiClient api = options->connect();
    const json::value found = api.get(page_of(list, *limit, ""));
    if (options->json) return print_json(found);
    std::cout << table_of(found);
  });
}

void add_show(CLI::App& challenges) {
  CLI::App& command = *challenges.add_subcommand("show", "one challenge, and the recipe to beat");
  auto options = add_api_options(command);
  auto id = std::make_shared<std::string>();
  command.add_option("id", *id, "chal-...")->required();
  command.callback([options, id] {
    ApiClient api = options->connect();
    const json::value challenge = api.get(path_of(kChallenges, *id));
    if (options->json) return print_json(challenge);
    std::cout << describe(challenge);
  });
}

void add_submit(CLI::App& challenges) {
  struct Arguments {
    std::string id, recipe, note;
    bool quiet = false;
  };
  CLI::App& command = *challenges.add_subcommand("submit", "submit a recipe, to be measured by the platform");
  auto options = add_api_options(command);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("id", arguments->id, "chal-...")->required();
  command.add_option("--recipe", arguments->recipe, "a JSON file: an object of hyperparameters")->required();
  command.add_option("--note", arguments->note, "for yourself");
  command.add_flag("--quiet,-q", arguments->quiet, "print the contribution's id alone");
  command.callback([options, arguments] {
    json::object body;
    body["recipe"] = read_object(arguments->recipe);
    if (!arguments->note.empty()) body["note"] = arguments->note;
    ApiClient api = options->connect();
    const json::value made = api.post(path_of(kChallenges, arguments->id, "/contributions"), body);
    if (options->json) return print_json(made);
    std::cout << (arguments->quiet ? text_of(made, "id") + "\n" : describe_contribution(made));
  });
}

void add_contributions(CLI::App& challenges) {
  CLI::App& command = *challenges.add_subcommand("contributions", "the project's own contributions to a challenge, newest first");
  auto options = add_api_options(command);
  auto id = std::make_shared<std::string>();
  command.add_option("id", *id, "chal-...")->required();
  command.callback([options, id] {
    ApiClient api = options->connect();
    const json::value found = api.get(path_of(kChallenges, *id, "/contributions?limit=100"));
    if (options->json) return print_json(found);
    for (const json::value& one : found.at("data").as_array()) std::cout << describe_contribution(one) << "\n";
  });
}

void add_leaderboard(CLI::App& challenges) {
  CLI::App& command = *challenges.add_subcommand("leaderboard", "what was measured, best first");
  auto options = add_api_options(command);
  auto id = std::make_shared<std::string>();
  command.add_option("id", *id, "chal-...")->required();
  command.callback([options, id] {
    ApiClient api = options->connect();
    const json::value board = api.get(path_of(kChallenges, *id, "/leaderboard?limit=50"));
    if (options->json) return print_json(board);
    std::vector<std::vector<std::string>> rows{{"CONTRIBUTION", "STATUS", "MEASURED", "INCUMBENT", "P", "AWARD", "MINE"}};
    for (const json::value& entry : board.at("data").as_array())
      rows.push_back({cell(entry, "id"), cell(entry, "status"), cell(entry, "contribution_mean"), cell(entry, "incumbent_mean"),
                      cell(entry, "p_value"), points_cell(entry, "award"), entry.at("mine").as_bool() ? "yes" : ""});
    std::cout << render_table(rows);
  });
}

void add_points(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("points", "the project's compute points: spendable, held, spent, and not vested yet");
  auto options = add_api_options(command);
  command.callback([options] {
    ApiClient api = options->connect();
    const json::value balances = api.get("/billing/balances");
    const auto& all = balances.at("data").as_array();
    const auto points = std::find_if(all.begin(), all.end(), [](const json::value& one) { return text_of(one, "ledger") == "POINTS_MICRO"; });
    if (points == all.end()) throw std::runtime_error("this platform has no compute points");
    if (options->json) return print_json(*points);
    std::cout << render_table({{"spendable", points_cell(*points, "available")},
                               {"pending", points_cell(*points, "pending")},
                               {"held", points_cell(*points, "held")},
                               {"spent", points_cell(*points, "spent")}});
  });
}

std::shared_ptr<ApiOptions> add_admin_options(CLI::App& command) {
  auto options = add_api_options(command);
  command.get_option("--key")->envname("FINETUNED_ADMIN_KEY")->description("an admin key; the variable keeps it out of the process list");
  return options;
}

void add_creation(CLI::App& challenges) {
  struct Arguments {
    std::string file, project, training, validation;
    bool quiet = false;
  };
  CLI::App& command = *challenges.add_subcommand("create", "ask for a better recipe, measured on a project's files and account");
  auto options = add_admin_options(command);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("file", arguments->file, "the challenge as JSON, as POST /v1/organization/challenges takes it")->required();
  command.add_option("--project", arguments->project, "its project_id");
  command.add_option("--training-file", arguments->training, "its training_file");
  command.add_option("--validation-file", arguments->validation, "its validation_file");
  command.add_flag("--quiet,-q", arguments->quiet, "print the challenge's id alone");
  command.callback([options, arguments] {
    json::object body = read_object(arguments->file);
    if (!arguments->project.empty()) body["project_id"] = arguments->project;
    if (!arguments->training.empty()) body["training_file"] = arguments->training;
    if (!arguments->validation.empty()) body["validation_file"] = arguments->validation;
    ApiClient api = options->connect();
    const json::value made = api.post(kOfOrganization, body);
    if (options->json) return print_json(made);
    std::cout << (arguments->quiet ? text_of(made, "id") + "\n" : describe(made));
  });
}

void add_closing(CLI::App& challenges) {
  CLI::App& command = *challenges.add_subcommand("close", "take no more contributions");
  auto options = add_admin_options(command);
  auto id = std::make_shared<std::string>();
  command.add_option("id", *id, "chal-...")->required();
  command.callback([options, id] {
    ApiClient api = options->connect();
    const json::value closed = api.post(path_of(kOfOrganization, *id, "/close"), json::object());
    if (options->json) return print_json(closed);
    std::cout << describe(closed);
  });
}

void add_confirmation(CLI::App& challenges) {
  CLI::App& command = *challenges.add_subcommand("confirm", "verify a winner again, with fresh seeds: its pending half vests or is forfeited");
  auto options = add_admin_options(command);
  auto id = std::make_shared<std::string>(), contribution = std::make_shared<std::string>();
  command.add_option("id", *id, "chal-...")->required();
  command.add_option("contribution", *contribution, "contrib-...")->required();
  command.callback([options, id, contribution] {
    ApiClient api = options->connect();
    const json::value entry = api.post(
        path_of(kOfOrganization, *id, "/contributions/" + ApiClient::escape(*contribution) + "/confirm"), json::object());
    if (options->json) return print_json(entry);
    std::cout << describe_contribution(entry);
  });
}

}  // namespace

void add_challenges_commands(CLI::App& app) {
  CLI::App& challenges = *app.add_subcommand("challenges", "better recipes that earn compute points");
  challenges.require_subcommand(1);
  add_listing(challenges, kChallenges, "what better recipes are wanted for");
  add_show(challenges);
  add_submit(challenges);
  add_contributions(challenges);
  add_leaderboard(challenges);
  add_points(app);
}

void add_admin_challenges_commands(CLI::App& admin) {
  CLI::App& challenges = *admin.add_subcommand("challenges", "make and close challenges, over the API, with FINETUNED_ADMIN_KEY");
  challenges.require_subcommand(1);
  add_creation(challenges);
  add_listing(challenges, kOfOrganization, "the organization's challenges");
  add_closing(challenges);
  add_confirmation(challenges);
}

}  // namespace finetuned::cli
