#include "tests/integration/platform/tiny_model.h"

#include <fstream>
#include <list>
#include <vector>

#include "base/files.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"
#include "trainer/model/weight_source.h"
#include "trainer/text/bpe_trainer.h"

namespace finetuned::tests {

namespace {

constexpr int kVocabulary = 280;

constexpr const char* kChatTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "
    "'\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::string config_text(int context, int hidden) {
  return R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": )" +
         std::to_string(kVocabulary) +
         R"(, "hidden_size": )" + std::to_string(hidden) + R"(, "intermediate_size": )" + std::to_string(2 * hidden) +
         R"(, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "max_position_embeddings": )" +
         std::to_string(context) +
         R"(, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "hidden_act": "silu"})";
}

}  // namespace

void write_tiny_model(const std::filesystem::path& directory, std::uint64_t seed, int context, int hidden) {
  std::filesystem::create_directories(directory);
  base::write_durably(directory / "config.json", config_text(context, hidden));
  text::BpeTrainerOptions options;
  options.vocabulary_size = kVocabulary;
  options.chat_template = kChatTemplate;
  options.model_max_length = context;
  text::train_bpe_tokenizer("how many apples are there? there are seven apples in the basket, and nine pears.\n" +
                                chat_dataset(20),
                            options, directory);
  const formats::ModelConfig config = formats::read_model_config(directory);
  const model::WeightSource weights = model::fresh_weights(config, seed, 0.1);
  std::list<std::vector<float>> values;
  std::vector<formats::TensorToWrite> tensors;
  for (const formats::ExpectedTensor& tensor : formats::expected_tensors(config)) {
    std::size_t elements = 1;
    for (const std::int64_t dimension : tensor.shape) elements *= static_cast<std::size_t>(dimension);
    values.emplace_back(elements);
    weights(tensor.name, values.back());
    tensors.push_back({tensor.name, tensor.shape, values.back()});
  }
  formats::write_safetensors(directory / "model.safetensors", std::move(tensors));
}

void write_large_model(const std::filesystem::path& directory) {
  write_tiny_model(directory);
  std::ofstream(directory / "config.json")
      << R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 280, "hidden_size": 1024, "intermediate_size": 4096,)"
      << R"( "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 256,)"
      << R"( "rms_norm_eps": 1e-5, "tie_word_embeddings": true, "hidden_act": "silu"})";
  std::string header;
  std::uint64_t end = 0;
  for (const auto& tensor : formats::expected_tensors(formats::read_model_config(directory))) {
    std::string shape;
    std::uint64_t bytes = 4;
    for (const auto size : tensor.shape) {
      shape += (shape.empty() ? "" : ",") + std::to_string(size);
      bytes *= static_cast<std::uint64_t>(size);
    }
    header += (header.empty() ? "{\"" : ",\"") + tensor.name + R"(":{"dtype":"F32","shape":[)" + shape +
              R"(],"data_offsets":[)" + std::to_string(end) + "," + std::to_string(end + bytes) + "]}";
    end += bytes;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::uint64_t size = header.size();
  std::ofstream(directory / "model.safetensors", std::ios::binary)
      .write(reinterpret_cast<const char*>(&size), sizeof size)
      << header;
  std::filesystem::resize_file(directory / "model.safetensors", 8 + size + end);
}

std::string chat_dataset(int rows) {
  constexpr const char* kFruits[] = {"apples", "pears", "plums", "figs", "limes"};
  std::string text;
  for (int i = 0; i < rows; ++i) {
    const std::string count = std::to_string(i % 7 + 2), fruit = kFruits[i % 5];
    text += R"({"messages": [{"role": "user", "content": "how many )" + fruit + R"( are there in basket )" +
            std::to_string(i) + R"(?"}, {"role": "assistant", "content": "there are )" + count + " " + fruit +
            R"("}]})" + "\n";
  }
  return text;
}

}  // namespace finetuned::tests
