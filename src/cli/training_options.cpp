#include "cli/training_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cli/numbers.h"
#include "io/message.h"
#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::cli {
namespace {

constexpr std::array kRequired = {"--global-batch", "--sequence"};
constexpr std::array kOthers = {"--precision", "--bf16-gradients", "--bf16-moments", "--fused-loss"};

}  // namespace

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

void TrainingOptions::add_optional_to(CLI::App& command) {
  add_to(command);
  for (const char* name : kRequired) {
    CLI::Option* option = command.get_option(name);
    option->required(false)->description(option->get_description() + " [as of the strategy's search]");
  }
}

bool TrainingOptions::are_given(const CLI::App& command) {
  const auto is_given = [&](const char* name) { return command.get_option(name)->count() > 0; };
  const bool any = std::ranges::any_of(kRequired, is_given) || std::ranges::any_of(kOthers, is_given);
  for (const char* name : kRequired) {
    if (any && !is_given(name)) throw CLI::RequiredError(name);
  }
  return any;
}

TrainingRun TrainingOptions::run() const {
  const auto known = precision_from_string(precision);
  if (!known)
    throw InputError(fmt::format("--precision: value is {}, expected bf16 or fp8", io::text_in_quotes(precision)));
  return {global_batch, sequence, *known, has_bf16_gradients, has_bf16_moments, has_fused_loss};
}

}  // namespace opweave::cli
