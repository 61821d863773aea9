#pragma once

#include <string>

#include "trainer/tensor/any_device.h"

namespace CLI {
class App;
}

namespace finetuned::services {

/// Adds --device to an engine's command; `name` becomes what is given.
void add_device_option(CLI::App& command, std::string& name);

/// What `name` stands for (tensor::choose_device()); why `auto` chose what it chose, is said on stderr. Throws UsageError.
tensor::DeviceSpec chosen_device(const std::string& name);

}  // namespace finetuned::services
