#include "opweave/layout_graph.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

#include "opweave/error.h"

namespace opweave {
namespace {

constexpr std::array<std::string_view, 5> kKinds = {"send", "all_gather", "reduce_scatter", "all_reduce", "all_to_all"};
constexpr std::array<std::string_view, 5> kMoved = {"tensor", "gradient", "update", "forward-weights",
                                                    "backward-weights"};

template <class Enum, std::size_t count>
std::optional<Enum> find(const std::array<std::string_view, count>& names, std::string_view text) {
  for (std::size_t i = 0; i < count; ++i) {
    if (names[i] == text) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string to_string(const TensorLayout& layout) {
  if (layout.kind == TensorLayout::Kind::kReplicated) return "R";
  if (layout.kind == TensorLayout::Kind::kPartial) return "P";
  return fmt::format("S({})", layout.dim);
}

std::optional<TensorLayout> layout_from_string(std::string_view text) {
  if (text == "R") return TensorLayout{};
  if (text == "P") return TensorLayout{TensorLayout::Kind::kPartial, 0};
  if (!text.starts_with("S(") || !text.ends_with(')')) return std::nullopt;
  TensorLayout layout{TensorLayout::Kind::kSharded, 0};
  const char* end = text.data() + text.size() - 1;
  const auto [rest, error] = std::from_chars(text.data() + 2, end, layout.dim);
  if (error != std::errc() || rest != end) return std::nullopt;
  return layout;
}

Bytes bytes_per_device(Bytes tensor, const TensorLayout& layout, std::size_t devices) {
  if (layout.kind != TensorLayout::Kind::kSharded) return tensor;
  const auto count = static_cast<std::int64_t>(devices);
  return Bytes((tensor.value() + count - 1) / count);
}

std::string_view to_string(LayoutMovementKind kind) { return kKinds.at(static_cast<std::size_t>(kind)); }
std::optional<LayoutMovementKind> layout_movement_kind_from_string(std::string_view text) {
  return find<LayoutMovementKind>(kKinds, text);
}

std::string_view to_string(Moved moved) { return kMoved.at(static_cast<std::size_t>(moved)); }
std::optional<Moved> moved_from_string(std::string_view text) { return find<Moved>(kMoved, text); }

void require_layout_settings(const ProblemSettings& settings) {
  if (settings.training.replicas != 1) {
    throw InputError(fmt::format("replicas are {}: options with layouts say copies by gangs, expected 1",
                                 settings.training.replicas));
  }
  if (settings.contention != Contention::kNone) {
    throw InputError(fmt::format("contention is {}: movements between layouts hold streams alone, expected none",
                                 to_string(settings.contention)));
  }
  if (settings.blocks != Blocks::kNone) throw InputError("options with layouts know no blocks, expected none");
}

bool may_choose_modes(const LayoutGraph& graph, const ProblemSettings& settings) {
  const ComputationGraph& operators = graph.graph;
  for (std::size_t t = 0; t < operators.tensors().size(); ++t) {
    if (operators.memory_modes(TensorId(t), settings.memory_modes).any()) return true;
  }
  return false;
}

}  // namespace opweave
