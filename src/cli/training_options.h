/// What one optimizer step trains on: options of commands about strategies.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "opweave/strategy.h"

namespace opweave::cli {

struct TrainingOptions {
  std::int64_t global_batch = 1;
  std::int64_t sequence = 1;
  std::string precision = "bf16";
  bool has_bf16_gradients = false;
  bool has_bf16_moments = false;
  bool has_fused_loss = false;

  void add_to(CLI::App& command);
  /// For a command that also reads a strategy, which knows what it is for: all of them may be left out.
  void add_optional_to(CLI::App& command);
  /// After parsing: whether any was given. \throws CLI::RequiredError where others must be, too
  [[nodiscard]] static bool are_given(const CLI::App& command);
  /// \throws InputError if the precision has no such name
  [[nodiscard]] TrainingRun run() const;
};

}  // namespace opweave::cli
