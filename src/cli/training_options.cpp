#include "cli/training_options.h"

#include <fmt/format.h>

#include "cli/numbers.h"
#include "io/message.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::cli {

void TrainingOptions::add_to(CLI::App& command) {
  command.add_option("--global-batch", global_batch, "sequences of one optimizer step")
      ->required()
      ->check(whole_between(1, 100'000'000));
  command.add_option("--sequence", sequence, "tokens of a sequence")->required()->check(whole_between(1, 100'000'000));
  command.add_option("--precision", precision, "of matrix products: bf16 or fp8")->capture_default_str();
}

TrainingRun TrainingOptions::run() const {
  const auto known = precision_from_string(precision);
  if (!known) throw InputError(fmt::format("--precision: value is {}, expected bf16 or fp8", io::quoted(precision)));
  return {global_batch, sequence, *known};
}

ModelDescription load_model(const std::filesystem::path& path) {
  const std::string text = read_file(path);
  // Whoever wrote a config.json of transformers calls its kind "model_type"; ours says "format".
  const bool is_ours = text.find("\"opweave.model\"") != std::string::npos;
  return is_ours ? parse_model(text, path.string()) : parse_hf_config(text, path.string());
}

}  // namespace opweave::cli
