#include "services/doctor_command.h"

#include <CLI/CLI.hpp>
#include <boost/json/serialize.hpp>
#include <iostream>
#include <memory>

#include "base/json.h"
#include "trainer/tensor/any_device.h"

namespace finetuned::services {

namespace json = base::json;

namespace {

void print_text(const std::vector<tensor::Backend>& backends) {
  for (const tensor::Backend& backend : backends)
    std::cout << backend.name << ": " << (backend.usable ? "usable" : "not usable") << " (" << backend.detail << ")\n";
}

void print_json(const std::vector<tensor::Backend>& backends) {
  json::array all;
  for (const tensor::Backend& backend : backends) {
    json::object one;
    one["name"] = backend.name;
    one["built"] = backend.built;
    one["usable"] = backend.usable;
    one["detail"] = backend.detail;
    all.push_back(std::move(one));
  }
  json::object result;
  result["version"] = FINETUNED_VERSION;
  result["backends"] = std::move(all);
  std::cout << json::serialize(result) << "\n";
}

}  // namespace

void add_doctor_command(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("doctor", "say what this program can compute on here: the processor, NVIDIA GPUs");
  auto as_json = std::make_shared<bool>(false);
  command.add_flag("--json", *as_json, "print JSON");
  command.callback([as_json] {
    const auto backends = tensor::backends();
    if (*as_json) return print_json(backends);
    print_text(backends);
  });
}

}  // namespace finetuned::services
