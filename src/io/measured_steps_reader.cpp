#include <string>

#include "io/formats.h"
#include "io/profile_json.h"
#include "io/strategy_json.h"
#include "opweave/calibration.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::optional;
using io::required;

/// Parts of a step. One that the strategy does not have is an error of whoever took it.
void read_parts(const JsonValue& value, MeasuredStep& step) {
  Duration sum;
  const auto part_into = [&sum](std::optional<Duration>& target, std::uint64_t ranks, const char* axes) {
    return [&sum, &target, ranks, axes](const JsonValue& part) {
      if (ranks == 1) part.fail(std::string("the strategy has no such part, as ") + axes + " is 1");
      target = Duration(part.integer(1));
      sum = sum + *target;
    };
  };
  const Strategy& s = step.strategy;
  const std::uint64_t context = s.context;
  const std::uint64_t copies = s.schedule == PipelineKind::kDualPipe ? 2 : 1;  // of the weights, on other stages
  read_object(value, optional("compute", part_into(step.parts.compute, 0, "")),
              optional("tensor", part_into(step.parts.tensor, context * s.tensor, "tensor x context")),
              optional("expert", part_into(step.parts.expert, s.expert, "expert")),
              optional("data", part_into(step.parts.data, copies * context * s.data, "data x context")));
  if (sum > *step.measured) {
    value.fail("the parts take " + std::to_string(sum.value()) + " ns, expected at most the " +
               std::to_string(step.measured->value()) + " of measured_ns");
  }
}

MeasuredStep read_step(const JsonValue& value) {
  MeasuredStep step;
  std::optional<JsonValue> parts;
  read_object(value, required("id", io::text_into(step.id)), optional("group", io::text_into(step.group)),
              required("profile", io::text_into(step.profile)),
              required("model", [&](const JsonValue& part) { step.model = io::read_model(part); }),
              required("machines", [&](const JsonValue& part) { step.machines = io::read_machines(part); }),
              required("run", [&](const JsonValue& part) { step.run = io::read_run(part); }),
              required("strategy", [&](const JsonValue& part) { step.strategy = io::read_strategy(part); }),
              optional("kernels",
                       [&](const JsonValue& part) { step.kernels = io::read_kernels(part, io::Kernels::kSomeStated); }),
              optional("peak_bytes", [&](const JsonValue& part) { step.peak = Bytes(part.integer(1)); }),
              optional("measured_ns", [&](const JsonValue& part) { step.measured = Duration(part.integer(1)); }),
              optional("parts_ns", io::keep(parts)));
  if (const std::string why = why_impossible(step.model, step.machines, step.run, step.strategy); !why.empty()) {
    value.fail(why);
  }
  if (parts) {
    if (!step.measured) parts->fail("the step has no measured_ns, expected the time that these are parts of");
    read_parts(*parts, step);
  }
  return step;
}

}  // namespace

std::vector<MeasuredStep> parse_measured_steps(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  const JsonValue root = document.root(io::kMeasuredStepsFormat, io::kFormatVersion);
  std::vector<MeasuredStep> steps;
  const auto skip = [](const JsonValue&) {};
  read_object(root, required("format", skip), required("version", skip), required("steps", [&](const JsonValue& list) {
                list.each([&](const JsonValue& item) { steps.push_back(read_step(item)); });
              }));
  return steps;
}

}  // namespace opweave
