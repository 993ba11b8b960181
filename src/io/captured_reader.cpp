#include "io/captured_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "io/message.h"

namespace opweave::io {
namespace {

using analytic::AttentionCall;
using analytic::Call;
using analytic::CapturedCalls;
using analytic::KernelPart;

constexpr std::string_view kAttention = "aten._scaled_dot_product_";

AttentionCall read_attention_call(const JsonValue& value) {
  AttentionCall attention;
  read_object(value, required("tokens", [&](const JsonValue& v) { attention.tokens = v.positive_number(); }),
              required("causal", [&](const JsonValue& v) { attention.is_causal = v.boolean(); }),
              required("backward", [&](const JsonValue& v) { attention.is_backward = v.boolean(); }));
  return attention;
}

Call read_call(const JsonValue& value) {
  Call call;
  std::string_view signature;
  read_object<OtherKeys::kIgnore>(
      value, required("signature", [&](const JsonValue& v) { signature = v.text(); }),
      required("flops", number_into(call.flops)), required("bytes", number_into(call.bytes)),
      required("dtype", text_into(call.dtype)),
      optional("attention", [&](const JsonValue& v) { call.attention = read_attention_call(v); }));
  if (!call.attention && signature.starts_with(kAttention)) {
    value.fail("key \"attention\" is missing",
               "opweave.Graph.from_file(FILE).save(FILE) in Python, where it was captured, adds it");
  }
  return call;
}

void read_calls_of(const JsonValue& value, const NameIndex& names, const std::vector<Operator>& operators,
                   CapturedCalls& result) {
  result.of.resize(operators.size());
  value.each_member([&](std::string_view name, const JsonValue& indices) {
    const auto number = names.find(name);
    if (!number || *number >= operators.size()) {
      value.fail(fmt::format("{} is no operator of the graph", text_in_quotes(name)));
    }
    double flops = 0, bytes = 0;
    indices.each([&](const JsonValue& item) {
      const std::uint32_t index = item.index();
      if (index >= result.calls.size()) item.reject(fmt::format("the index of one of {} calls", result.calls.size()));
      result.of[*number].push_back(index);
      flops += result.calls[index].flops;
      bytes += result.calls[index].bytes;
    });
    const auto expect_sum = [&](const char* key, double sum, double said) {
      // The sums were made in another order, perhaps.
      if (std::abs(sum - said) <= 1e-9 * std::max(sum, said)) return;
      indices.fail(
          fmt::format("the calls of {} add up to {} {:g}, the operator has {:g}", text_in_quotes(name), key, sum, said),
          "leave the key captured out after changing the operators");
    };
    expect_sum("flops", flops, operators[*number].flops.value_or(0));
    expect_sum("bytes_accessed", bytes, operators[*number].bytes_accessed.value_or(0));
  });
}

KernelPart read_part(const JsonValue& value, const NameIndex& names, const CapturedCalls& calls) {
  KernelPart part;
  if (value.count() != 3) value.reject("[operator, index, bytes]");
  value.each([&](const JsonValue& item) {
    if (item.position() == 0) {
      const std::uint32_t op = names.resolve(item, "an operator of the graph");
      if (op >= calls.of.size()) item.reject("the name of an operator of the graph");
      part.op = OperatorId(op);
    } else if (item.position() == 1) {
      part.call = item.index();
    } else {
      part.bytes = item.number();
    }
  });
  if (part.call >= calls.of[part.op.index()].size()) value.fail(fmt::format("the operator has no call {}", part.call));
  return part;
}

}  // namespace

CapturedCalls read_captured_calls(const JsonValue& captured, const NameIndex& names,
                                  const std::vector<Operator>& operators) {
  CapturedCalls result;
  std::optional<JsonValue> of;
  std::optional<JsonValue> kernels;
  read_object<OtherKeys::kIgnore>(
      captured,
      required("calls",
               [&](const JsonValue& list) {
                 list.each([&](const JsonValue& call) { result.calls.push_back(read_call(call)); });
               }),
      required("operators", keep(of)), optional("kernels", keep(kernels)));
  read_calls_of(*of, names, operators, result);
  if (!kernels) return result;
  kernels->each([&](const JsonValue& kernel) {
    auto& parts = result.kernels.emplace_back();
    kernel.each([&](const JsonValue& part) { parts.push_back(read_part(part, names, result)); });
  });
  return result;
}

}  // namespace opweave::io
