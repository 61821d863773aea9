#include "trainer/tensor/any_device.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <optional>
#include <string_view>

#include "base/errors.h"
#include "base/machine.h"

namespace finetuned::tensor {

namespace {

using base::UsageError;

std::string of_gpu(const Cuda::Description& gpu) {
  char numbers[80];
  std::snprintf(numbers, sizeof numbers, ", compute capability %d.%d, %.1f GB", gpu.major, gpu.minor,
                static_cast<double>(gpu.memory_bytes) / 1e9);
  return "cuda:" + std::to_string(gpu.index) + " " + gpu.name + numbers;
}

bool new_enough(const Cuda::Description& gpu) { return gpu.major >= Cuda::kLeastMajor; }

const std::string kLeftOut = "this program was built without CUDA";

std::string no_gpu(const std::string& why) { return "this process sees no NVIDIA GPU" + (why.empty() ? "" : " (" + why + ")"); }

std::string too_old(const Cuda::Description& gpu) {
  return "GPU " + std::to_string(gpu.index) + " (" + gpu.name + ") has compute capability " + std::to_string(gpu.major) + "." +
         std::to_string(gpu.minor) + "; " + std::to_string(Cuda::kLeastMajor) + ".0 or later is needed";
}

/// The GPU numbered `index`, which can be used.
Cuda::Description usable_gpu(int index) {
  const std::string remedy = "; choose the device cpu or auto";
  if (*Cuda::build() == '\0') throw UsageError(kLeftOut + "; build it where nvcc 13 is, or choose the device cpu");
  std::string why;
  const auto gpus = Cuda::devices(&why);
  if (gpus.empty()) throw UsageError(no_gpu(why) + remedy);
  if (index >= static_cast<int>(gpus.size()))
    throw UsageError("there is no GPU " + std::to_string(index) + ": this process sees " + std::to_string(gpus.size()) +
                     ", counted from 0" + remedy);
  const auto& gpu = gpus[static_cast<std::size_t>(index)];
  if (!new_enough(gpu)) throw UsageError(too_old(gpu) + remedy);
  if (const std::string missing = Cuda::missing_library(); !missing.empty()) throw UsageError(missing + "; install it, or" + remedy.substr(1));
  return gpu;
}

std::string class_of(const Cuda::Description& gpu) {
  return "cuda-sm_" + std::to_string(gpu.major) + std::to_string(gpu.minor) + " " + gpu.name;
}

/// The number in `digits`, not negative.
std::optional<int> gpu_number(std::string_view digits) {
  int number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() || number < 0) return std::nullopt;
  return number;
}

/// One of the list `name`.
DeviceSpec listed_gpu(const std::string& name, const std::string& digits) {
  const auto number = name.starts_with("cuda:") ? gpu_number(digits) : std::nullopt;
  if (!number) throw UsageError("'" + name + "' is no list of GPUs; give their numbers, as cuda:0,1");
  return {DeviceSpec::Kind::kCuda, usable_gpu(*number).index};
}

DeviceChoice best_device() {
  if (*Cuda::build() == '\0') return {{}, kLeftOut};
  std::string why;
  const auto gpus = Cuda::devices(&why);
  for (const auto& gpu : gpus) {
    if (!new_enough(gpu)) continue;
    if (const std::string missing = Cuda::missing_library(); !missing.empty()) return {{}, missing};
    return {{DeviceSpec::Kind::kCuda, gpu.index}, of_gpu(gpu)};
  }
  return {{}, gpus.empty() ? no_gpu(why) : too_old(gpus.front())};
}

}  // namespace

std::string device_name(const DeviceSpec& spec) { return spec.is_cuda() ? "cuda:" + std::to_string(spec.index) : "cpu"; }

std::string device_class(const Cpu& device) { return std::string("cpu-") + isa_name(device.isa()); }
std::string device_class(const Cuda& device) { return class_of(device.description()); }
std::string device_class(const DeviceSpec& spec) {
  return spec.is_cuda() ? class_of(usable_gpu(spec.index)) : std::string("cpu-") + isa_name(best_isa());
}

std::string device_engine(const DeviceSpec& spec) {
  if (!spec.is_cuda()) return device_class(spec);
  return device_class(spec) + ", " + Cuda::build() + ", " + Cuda::library_version();
}

std::string device_identity(const DeviceSpec& spec) {
  if (!spec.is_cuda()) return device_class(spec);
  const Cuda::Description gpu = usable_gpu(spec.index);
  std::string uuid;
  for (const std::uint8_t byte : gpu.uuid) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    uuid += digits;
  }
  return class_of(gpu) + ", UUID " + uuid + ", " + Cuda::library_version();
}

DeviceChoice choose_device(const std::string& name) {
  if (name == "cpu") return {};
  if (name == "auto") return best_device();
  const auto number = name.starts_with("cuda:") ? gpu_number(std::string_view(name).substr(5))
                      : name == "cuda"          ? std::optional(0)
                                                : std::nullopt;
  if (!number) throw UsageError("there is no device '" + name + "'; give cpu, cuda, cuda:N (N counts from 0) or auto");
  return {{DeviceSpec::Kind::kCuda, usable_gpu(*number).index}, {}};
}

DevicesChoice choose_devices(const std::string& name) {
  if (name.find(',') == std::string::npos) {
    DeviceChoice one = choose_device(name);
    return {{one.spec}, std::move(one.reason)};
  }
  DevicesChoice several;
  std::string first_class;
  for (std::size_t begin = name.starts_with("cuda:") ? 5 : 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = name.find(',', begin);
    const DeviceSpec spec = listed_gpu(name, name.substr(begin, end == std::string::npos ? end : end - begin));
    if (std::find(several.specs.begin(), several.specs.end(), spec) != several.specs.end())
      throw UsageError(device_name(spec) + " is named twice in '" + name + "'; name each GPU once");
    const std::string its_class = device_class(spec);
    if (several.specs.empty()) first_class = its_class;
    if (its_class != first_class)
      throw UsageError("the GPUs of '" + name + "' are of two classes, " + first_class + " and " + its_class +
                       ", which compute different bits; name GPUs of one class");
    several.specs.push_back(spec);
  }
  return several;
}

std::vector<Backend> backends() {
  std::vector<Backend> all{{.name = "cpu",
                            .built = true,
                            .usable = true,
                            .detail = std::string(isa_name(best_isa())) + ", " + std::to_string(base::machine_cores()) + " cores"}};
  Backend cuda{.name = "cuda", .built = *Cuda::build() != '\0', .usable = false, .detail = kLeftOut};
  if (cuda.built) {
    std::string why;
    const auto gpus = Cuda::devices(&why);
    cuda.detail = std::string(Cuda::build()) + "; " + (gpus.empty() ? no_gpu(why) : std::string());
    for (const auto& gpu : gpus) {
      cuda.usable = cuda.usable || new_enough(gpu);
      cuda.detail += (gpu.index > 0 ? "; " : "") + (new_enough(gpu) ? of_gpu(gpu) : too_old(gpu));
    }
    if (const std::string missing = cuda.usable ? Cuda::missing_library() : std::string(); !missing.empty()) {
      cuda.usable = false;
      cuda.detail += "; " + missing;
    }
  }
  all.push_back(std::move(cuda));
  return all;
}

std::uint64_t device_memory_bytes(const DeviceSpec& spec, std::uint64_t asked) {
  if (!spec.is_cuda()) return base::run_memory_bytes(asked);
  if (asked > 0) return asked;
  const std::uint64_t free = Cuda::free_bytes_of(usable_gpu(spec.index).index);
  if (free == 0) throw UsageError(device_name(spec) + " does not tell what memory it has free; give the limit, or choose another device");
  return Cuda::spared(free);
}

AnyDevice::AnyDevice(const DeviceSpec& spec, int threads) : spec_(spec) {
  if (spec.is_cuda()) {
    device_.emplace<Cuda>(spec.index);
  } else {
    device_.emplace<Cpu>(threads);
  }
}

}  // namespace finetuned::tensor
