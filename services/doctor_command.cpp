#include "services/doctor_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <iostream>
#include <memory>
#include <optional>

#include "base/errors.h"
#include "base/json.h"
#include "services/doctor_checks.h"
#include "services/gateway/tls_context.h"
#include "services/parts.h"
#include "trainer/tensor/any_device.h"

namespace finetuned::services {

namespace json = base::json;

namespace {

struct CertificateCheck {
  bool usable = false;
  std::string detail;
  std::string warning;
};

/// Nothing where the configuration names no certificate.
std::optional<CertificateCheck> check_certificate(const ProgramOptions& options) {
  CertificateCheck check;
  try {
    const base::Settings settings = options.settings();
    if (!gateway::wants_tls(settings.gateway)) return std::nullopt;
    const gateway::CertificateFacts facts = gateway::TlsContext(settings.gateway).certificate();
    check.warning = gateway::warning_of(facts, std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()));
    check.usable = true;
    check.detail = facts.subject + "; " + facts.names + "; until " + gateway::format_utc(facts.not_after) + "; sha256 " + facts.fingerprint;
  } catch (const base::ConfigError& error) {
    check.detail = error.what();
  }
  return check;
}

/// Nothing where no database is configured: then this is about the machine alone.
std::vector<Check> platform_checks(const ProgramOptions& options) {
  try {
    const base::Settings settings = options.settings();
    if (settings.database.url.empty()) return {};
    return check_platform(settings);
  } catch (const base::ConfigError& error) {
    return {{"configuration", Check::Level::kProblem, error.what(), "correct the file and the FINETUNED_* variables"}};
  }
}

void print_text(const std::vector<Check>& checks) {
  for (const Check& check : checks) {
    std::cout << check.name << ": " << to_string(check.level) << " (" << check.detail << ")";
    if (!check.remedy.empty()) std::cout << ": " << check.remedy;
    std::cout << "\n";
  }
}

void print_text(const CertificateCheck& check) {
  std::cout << "certificate: " << (check.usable ? "usable" : "not usable") << " (" << check.detail << ")\n";
  if (!check.warning.empty()) std::cout << "certificate: it " << check.warning << "\n";
}

void print_text(const std::vector<tensor::Backend>& backends) {
  for (const tensor::Backend& backend : backends)
    std::cout << backend.name << ": " << (backend.usable ? "usable" : "not usable") << " (" << backend.detail << ")\n";
}

void print_json(const std::vector<tensor::Backend>& backends, const std::optional<CertificateCheck>& certificate,
                const std::vector<Check>& checks) {
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
  if (certificate)
    result["certificate"] = {{"usable", certificate->usable}, {"detail", certificate->detail}, {"warning", certificate->warning}};
  if (!checks.empty()) {
    json::array platform;
    for (const Check& check : checks)
      platform.push_back(json::object{{"name", check.name}, {"level", to_string(check.level)}, {"detail", check.detail}, {"remedy", check.remedy}});
    result["platform"] = std::move(platform);
  }
  std::cout << json::serialize(result) << "\n";
}

}  // namespace

void add_doctor_command(CLI::App& app, const ProgramOptions& options, int& exit_status) {
  CLI::App& command =
      *app.add_subcommand("doctor", "say what this program can compute on here, and what is wrong with the platform that --config names: a line each, with the remedy");
  auto as_json = std::make_shared<bool>(false);
  command.add_flag("--json", *as_json, "print JSON");
  command.callback([as_json, &options, &exit_status] {
    const auto backends = tensor::backends();
    const auto certificate = check_certificate(options);
    const auto checks = platform_checks(options);
    const auto is_problem = [](const Check& check) { return check.level == Check::Level::kProblem; };
    if ((certificate && !certificate->usable) || std::any_of(checks.begin(), checks.end(), is_problem)) exit_status = 1;
    if (*as_json) return print_json(backends, certificate, checks);
    print_text(backends);
    if (certificate) print_text(*certificate);
    print_text(checks);
  });
}

}  // namespace finetuned::services
