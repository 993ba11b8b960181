#include "io/profile_json.h"

#include "io/formats.h"
#include "io/json_writer.h"
#include "opweave/error.h"

namespace opweave {
namespace io {
namespace {

constexpr std::int64_t kMostFitted = 1'000'000'000;
constexpr double kMostConstant = 1000;

auto fraction_into(double& target) {
  return [&target](const JsonValue& value) { target = value.number(0.01, 1); };
}
auto fact_into(bool& target) {
  return [&target](const JsonValue& value) { target = value.boolean(); };
}
auto number_to(double& target, double least, double most) {
  return [&target, least, most](const JsonValue& value) { target = value.number(least, most); };
}
auto fitted_into(std::int64_t& target) {
  return [&target](const JsonValue& value) { target = value.integer(0, kMostFitted); };
}

void read_residuals(const JsonValue& value, CalibrationProfile& profile) {
  read_object(value, required("steps", fitted_into(profile.steps)), required("peaks", fitted_into(profile.peaks)),
              required("median_error", number_into(profile.median_error)),
              required("ninetieth_error", number_into(profile.ninetieth_error)));
  if (profile.ninetieth_error < profile.median_error) {
    value.fail("the 90th percentile is below the median, expected at least it");
  }
}

}  // namespace

CalibrationProfile read_kernels(const JsonValue& value, Kernels stated) {
  const auto field = [&]<class Read>(std::string_view key, Read read) {
    return Field<Read>{key, stated == Kernels::kAllStated, std::move(read)};
  };
  CalibrationProfile kernels;
  read_object(
      value, field("fused_attention", fact_into(kernels.has_fused_attention)),
      field("attention_forward", fraction_into(kernels.attention_forward)),
      field("attention_backward", fraction_into(kernels.attention_backward)),
      field("fused_norms", fact_into(kernels.has_fused_norms)), field("split_loss", fact_into(kernels.has_split_loss)),
      field("launches_ns", amount_into(kernels.launches, 1'000'000'000)),
      field("gathers_again", fact_into(kernels.gathers_again)), field("keeps_fp8", fact_into(kernels.keeps_fp8)),
      field("keeps_expert_outputs", fact_into(kernels.keeps_expert_outputs)),
      field("gradient_bytes", amount_into(kernels.gradient_bytes, 8)),
      field("logit_bytes", amount_into(kernels.logit_bytes, 64)), field("reserve_bytes", amount_into(kernels.reserve)),
      field("pads_vocabulary", fact_into(kernels.pads_vocabulary)),
      field("balances_context", fact_into(kernels.balances_context)));
  return kernels;
}

FittedProfile read_profile(const JsonValue& value) {
  FittedProfile fitted;
  CalibrationProfile stated;  // its kernels are read apart
  const auto skip = [](const JsonValue&) {};
  const auto read_device = [&](const JsonValue& part) {
    try {
      fitted.device = machines_named(part.text()).device.name;
    } catch (const InputError& error) {
      part.fail(error.what(), error.hint());
    }
  };
  const auto read_precision = [&](const JsonValue& part) {
    const auto found = precision_from_string(part.text());
    if (!found) part.reject("\"bf16\" or \"fp8\"");
    fitted.precision = *found;
  };
  read_object(
      value, optional("format", skip), optional("version", skip),
      required("name", [&](const JsonValue& part) { stated.name = part.name(); }), required("device", read_device),
      required("precision", read_precision), required("experts", fact_into(fitted.has_experts)),
      required("recurrences", fact_into(fitted.has_recurrences)), required("matrix", number_to(stated.matrix, 0.01, 1)),
      required("traffic", number_to(stated.traffic, 0.01, kMostConstant)),
      required("communication", number_to(stated.communication, 0.01, kMostConstant)),
      required("residuals", [&](const JsonValue& part) { read_residuals(part, stated); }),
      required("kernels", [&](const JsonValue& part) { fitted.constants = read_kernels(part, Kernels::kAllStated); }));
  CalibrationProfile& profile = fitted.constants;
  profile.name = stated.name;
  profile.matrix = stated.matrix;
  profile.traffic = stated.traffic;
  profile.communication = stated.communication;
  profile.steps = stated.steps;
  profile.peaks = stated.peaks;
  profile.median_error = stated.median_error;
  profile.ninetieth_error = stated.ninetieth_error;
  profile.is_own = true;
  return fitted;
}

namespace {

void write_kernels(JsonWriter& json, const CalibrationProfile& kernels) {
  json.open_object(JsonWriter::Layout::kBlock);
  json.member("fused_attention", kernels.has_fused_attention);
  json.member("attention_forward", kernels.attention_forward);
  json.member("attention_backward", kernels.attention_backward);
  json.member("fused_norms", kernels.has_fused_norms);
  json.member("split_loss", kernels.has_split_loss);
  json.member("launches_ns", kernels.launches.value());
  json.member("gathers_again", kernels.gathers_again);
  json.member("keeps_fp8", kernels.keeps_fp8);
  json.member("keeps_expert_outputs", kernels.keeps_expert_outputs);
  json.member("gradient_bytes", kernels.gradient_bytes.value());
  json.member("logit_bytes", kernels.logit_bytes.value());
  json.member("reserve_bytes", kernels.reserve.value());
  json.member("pads_vocabulary", kernels.pads_vocabulary);
  json.member("balances_context", kernels.balances_context);
  json.close_object();
}

}  // namespace
}  // namespace io

std::string profile_to_json(const FittedProfile& profile) {
  const CalibrationProfile& fitted = profile.constants;
  io::JsonWriter json;
  json.open_object(io::JsonWriter::Layout::kBlock);
  json.member("format", io::kProfileFormat);
  json.member("version", io::kFormatVersion);
  json.member("name", fitted.name);
  json.member("device", profile.device);
  json.member("precision", to_string(profile.precision));
  json.member("experts", profile.has_experts);
  json.member("recurrences", profile.has_recurrences);
  json.member("matrix", fitted.matrix);
  json.member("traffic", fitted.traffic);
  json.member("communication", fitted.communication);
  json.key("residuals");
  json.open_object(io::JsonWriter::Layout::kLine);
  json.member("steps", fitted.steps);
  json.member("peaks", fitted.peaks);
  json.member("median_error", fitted.median_error);
  json.member("ninetieth_error", fitted.ninetieth_error);
  json.close_object();
  json.key("kernels");
  io::write_kernels(json, fitted);
  json.close_object();
  return std::move(json).finish();
}

FittedProfile parse_profile(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  return io::read_profile(document.root(io::kProfileFormat, io::kFormatVersion));
}

}  // namespace opweave
