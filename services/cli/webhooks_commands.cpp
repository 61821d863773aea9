#include <CLI/CLI.hpp>
#include <iostream>

#include "services/cli/options.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

constexpr const char* kEndpoints = "/webhook_endpoints";

std::string endpoint_path(const std::string& id) { return std::string(kEndpoints) + "/" + ApiClient::escape(id); }

std::string time_cell(const json::value& object, const char* name) {
  const std::int64_t seconds = integer_of(object, name, -1);
  return seconds < 0 ? "-" : format_time(seconds);
}

std::string events_of(const json::value& endpoint) {
  std::string text;
  const json::value* events = endpoint.as_object().if_contains("events");
  if (events && events->is_array())
    for (const json::value& event : events->get_array())
      if (event.is_string()) text += (text.empty() ? "" : " ") + std::string(event.get_string());
  return printable(std::move(text));
}

std::string describe(const json::value& endpoint) {
  std::vector<std::vector<std::string>> rows{{"endpoint", cell(endpoint, "id")},
                                             {"url", cell(endpoint, "url")},
                                             {"events", events_of(endpoint)},
                                             {"description", cell(endpoint, "description")},
                                             {"created", time_cell(endpoint, "created_at") + " UTC"},
                                             {"disabled", cell(endpoint, "disabled_reason")}};
  if (!text_of(endpoint, "secret").empty()) rows.push_back({"secret", cell(endpoint, "secret") + "  (shown this once)"});
  return render_table(rows);
}

void print_endpoint(const json::value& endpoint, bool as_json) {
  if (as_json) return print_json(endpoint);
  std::cout << describe(endpoint);
}

struct Listing {
  int limit = 20;
  std::string after;
};

std::shared_ptr<Listing> add_listing(CLI::App& command) {
  auto listing = std::make_shared<Listing>();
  command.add_option("--limit", listing->limit, "how many")->capture_default_str()->check(CLI::Range(1, 100));
  command.add_option("--after", listing->after, "go on after this id");
  return listing;
}

void add_list(CLI::App& webhooks) {
  CLI::App& command = *webhooks.add_subcommand("list", "the project's endpoints, newest first");
  auto options = add_api_options(command);
  auto listing = add_listing(command);
  command.callback([listing, options] {
    ApiClient api = options->connect();
    const json::value list = api.get(page_of(kEndpoints, listing->limit, listing->after));
    if (options->json) return print_json(list);
    std::vector<std::vector<std::string>> rows{{"ID", "CREATED (UTC)", "ENABLED", "URL", "EVENTS"}};
    for (const json::value& one : list.at("data").as_array())
      rows.push_back({cell(one, "id"), time_cell(one, "created_at"), text_of(one, "disabled_reason").empty() ? "yes" : "no",
                      cell(one, "url"), events_of(one)});
    std::cout << render_table(rows);
  });
}

struct Wanted {
  std::string id, url, description;
  std::vector<std::string> events;

  json::object body() const {
    json::object body;
    if (!url.empty()) body["url"] = url;
    if (!description.empty()) body["description"] = description;
    if (!events.empty()) body["events"] = json::array(events.begin(), events.end());
    return body;
  }
};

void add_wanted(CLI::App& command, Wanted& wanted) {
  command.add_option("--event", wanted.events, "fine_tuning.job.succeeded, .failed or .cancelled; more than one may be given");
  command.add_option("--description", wanted.description, "what the lists say of it");
}

void add_create(CLI::App& webhooks) {
  CLI::App& command = *webhooks.add_subcommand("create", "have an endpoint told when jobs end; shows its signing secret");
  auto wanted = std::make_shared<Wanted>();
  auto options = add_api_options(command);
  command.add_option("endpoint", wanted->url, "its https URL")->required();
  add_wanted(command, *wanted);
  command.callback([wanted, options] {
    ApiClient api = options->connect();
    print_endpoint(api.post(kEndpoints, wanted->body()), options->json);
  });
}

void add_update(CLI::App& webhooks) {
  CLI::App& command = *webhooks.add_subcommand("update", "change what is given of an endpoint");
  struct Arguments {
    Wanted wanted;
    bool enable = false, disable = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto options = add_api_options(command);
  command.add_option("id", arguments->wanted.id, "the endpoint's id")->required();
  command.add_option("--endpoint", arguments->wanted.url, "another https URL");
  add_wanted(command, arguments->wanted);
  CLI::Option* enable = command.add_flag("--enable", arguments->enable, "send what waits, and what comes");
  command.add_flag("--disable", arguments->disable, "send nothing until it is enabled again")->excludes(enable);
  command.callback([arguments, options] {
    json::object body = arguments->wanted.body();
    if (arguments->enable || arguments->disable) body["enabled"] = arguments->enable;
    ApiClient api = options->connect();
    print_endpoint(api.post(endpoint_path(arguments->wanted.id), body), options->json);
  });
}

/// A command on one endpoint: `act` gets the API, the id and whether JSON is wanted.
template <typename Act>
void add_on_one(CLI::App& webhooks, const char* name, const char* help, Act act) {
  CLI::App& command = *webhooks.add_subcommand(name, help);
  auto id = std::make_shared<std::string>();
  auto options = add_api_options(command);
  command.add_option("id", *id, "the endpoint's id")->required();
  command.callback([id, options, act] {
    ApiClient api = options->connect();
    act(api, *id, options->json);
  });
}

void add_deliveries(CLI::App& webhooks) {
  CLI::App& command = *webhooks.add_subcommand("deliveries", "what an endpoint was told, and what it answered; newest first");
  auto id = std::make_shared<std::string>();
  auto options = add_api_options(command);
  command.add_option("id", *id, "the endpoint's id")->required();
  auto listing = add_listing(command);
  command.callback([id, listing, options] {
    ApiClient api = options->connect();
    const json::value list = api.get(page_of(endpoint_path(*id) + "/deliveries", listing->limit, listing->after));
    if (options->json) return print_json(list);
    std::vector<std::vector<std::string>> rows{{"ID", "CREATED (UTC)", "EVENT", "STATUS", "TRIES", "ANSWER", "NEXT TRY (UTC)", "ERROR"}};
    for (const json::value& one : list.at("data").as_array())
      rows.push_back({cell(one, "id"), time_cell(one, "created_at"), cell(one, "type"), cell(one, "status"), cell(one, "attempts"),
                      cell(one, "last_status"), time_cell(one, "next_attempt_at"), cell(one, "last_error")});
    std::cout << render_table(rows);
  });
}

}  // namespace

void add_webhooks_commands(CLI::App& app) {
  const auto roles = app.get_subcommands([](const CLI::App* one) { return one->get_name() == "webhooks"; });
  CLI::App& webhooks = roles.empty() ? *app.add_subcommand("webhooks", "who is told when the project's jobs end") : *roles.front();
  if (roles.empty()) webhooks.require_subcommand(1);
  add_list(webhooks);
  add_create(webhooks);
  add_on_one(webhooks, "show", "one endpoint", [](ApiClient& api, const std::string& id, bool as_json) {
    print_endpoint(api.get(endpoint_path(id)), as_json);
  });
  add_update(webhooks);
  add_on_one(webhooks, "rotate", "a new signing secret in place of the old one, shown once",
             [](ApiClient& api, const std::string& id, bool as_json) {
               print_endpoint(api.post(endpoint_path(id) + "/rotate_secret", json::object()), as_json);
             });
  add_on_one(webhooks, "test", "send a test event", [](ApiClient& api, const std::string& id, bool as_json) {
    const json::value delivery = api.post(endpoint_path(id) + "/test", json::object());
    if (as_json) return print_json(delivery);
    std::cout << cell(delivery, "id") << " is " << cell(delivery, "status") << "\n";
  });
  add_deliveries(webhooks);
  add_on_one(webhooks, "delete", "an endpoint and its deliveries", [](ApiClient& api, const std::string& id, bool as_json) {
    const json::value gone = api.remove(endpoint_path(id));
    if (as_json) return print_json(gone);
    std::cout << id << " is deleted\n";
  });
}

}  // namespace finetuned::cli
