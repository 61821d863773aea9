#include "trainer/training/fingerprint.h"

#include <iomanip>
#include <sstream>

#include "base/sha256.h"
#include "trainer/tensor/any_device.h"
#include "trainer/training/records.h"

namespace finetuned::training {

namespace fs = std::filesystem;

namespace {

std::string settings_text(const RunConfig& c) {
  std::ostringstream text;
  text << std::hexfloat << c.full_parameter << ' ' << c.lora_rank << ' ' << c.lora_alpha << ' '
       << c.lora_dropout << ' ' << c.use_rslora << ' ' << c.learning_rate << ' '
       << static_cast<int>(c.lr_scheduler) << ' ' << c.warmup_ratio << ' ' << c.weight_decay << ' '
       << c.max_grad_norm << ' ' << c.batch_size << ' ' << c.epochs << ' ' << c.max_steps.value_or(0) << ' '
       << c.checkpoint_steps.value_or(0) << ' ' << c.checkpoint_epochs << ' ' << c.validation_steps << ' '
       << c.shuffle << ' ' << c.seed << ' ' << c.max_seq_length << ' ' << c.micro_batch_tokens << ' '
       << static_cast<int>(c.dtype);
  for (const std::string& module : c.target_modules)
    text << ' ' << module;
  return text.str();
}

std::string digest_of(const std::vector<fs::path>& files) {
  std::string text;
  for (const fs::path& file : files)
    text += file.filename().string() + " " + base::sha256_file(file) + "\n";
  return base::sha256_hex(text);
}

}  // namespace

std::string engine_sha256(const RunConfig& config) {
  return base::sha256_hex(std::string(FINETUNED_VERSION) + " " + __VERSION__ + " " + tensor::device_engine(config.device));
}

std::string settings_sha256(const RunConfig& config) { return base::sha256_hex(settings_text(config)); }

collective::Fingerprint run_fingerprint(const RunConfig& config,
                                        const std::vector<text::TokenRow>& training_rows,
                                        const std::vector<text::TokenRow>& validation_rows) {
  std::vector<fs::path> base = formats::Weights::open(config.base_directory).files();
  base.push_back(config.base_directory / "config.json");
  collective::Fingerprint fingerprint{{"the program or its device", engine_sha256(config)},
                                      {"the settings", settings_sha256(config)},
                                      {"the training rows", rows_sha256(training_rows)},
                                      {"the validation rows", rows_sha256(validation_rows)},
                                      {"the base", digest_of(base)}};
  if (config.init_adapter)
    fingerprint.push_back(
        {"the initial adapter", digest_of({*config.init_adapter / "adapter_config.json",
                                           *config.init_adapter / "adapter_model.safetensors"})});
  return fingerprint;
}

}  // namespace finetuned::training
