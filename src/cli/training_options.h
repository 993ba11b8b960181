/// What one optimizer step trains on, and the file of a model: options of commands about strategies.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

#include "opweave/strategy.h"

namespace opweave::cli {

struct TrainingOptions {
  std::int64_t global_batch = 1;
  std::int64_t sequence = 1;
  std::string precision = "bf16";

  void add_to(CLI::App& command);
  /// \throws InputError if the precision has no such name
  [[nodiscard]] TrainingRun run() const;
};

/// An opweave.model, or a config.json of Hugging Face transformers.
[[nodiscard]] ModelDescription load_model(const std::filesystem::path& path);

}  // namespace opweave::cli
