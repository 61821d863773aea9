#include "services/engine_device.h"

#include <CLI/CLI.hpp>
#include <iostream>

namespace finetuned::services {

void add_device_option(CLI::App& command, std::string& name) {
  command.add_option("--device", name,
                     "cpu; cuda or cuda:N, an NVIDIA GPU (the first, or the one numbered N from 0); auto, a GPU where one can "
                     "be used, else the processor. `finetuned doctor` says what there is")
      ->type_name("cpu|cuda[:N]|auto")->capture_default_str();
}

tensor::DeviceSpec chosen_device(const std::string& name) {
  const tensor::DeviceChoice choice = tensor::choose_device(name);
  if (!choice.reason.empty())
    std::cerr << "finetuned: --device auto takes " << tensor::device_name(choice.spec) << ": " << choice.reason << "\n";
  return choice.spec;
}

}  // namespace finetuned::services
