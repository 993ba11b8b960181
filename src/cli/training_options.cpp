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
  command.add_flag("--bf16-gradients", has_bf16_gradients, "gradients are summed and reduced in bf16 instead of fp32");
  command.add_flag("--bf16-moments", has_bf16_moments, "Adam keeps its moments in bf16 instead of fp32");
  command.add_flag("--fused-loss", has_fused_loss, "the loss writes its gradient over the logits");
}

TrainingRun TrainingOptions::run() const {
  const auto known = precision_from_string(precision);
  if (!known)
    throw InputError(fmt::format("--precision: value is {}, expected bf16 or fp8", io::text_in_quotes(precision)));
  return {global_batch, sequence, *known, has_bf16_gradients, has_bf16_moments, has_fused_loss};
}

}  // namespace opweave::cli
