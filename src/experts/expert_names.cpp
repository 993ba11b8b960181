// Names of the published schedules, as their papers, PyTorch and people write them.
#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "io/message.h"
#include "opweave/error.h"
#include "opweave/experts.h"

namespace opweave {
namespace {

constexpr std::array<std::pair<Expert, std::string_view>, 12> kNames = {{{Expert::kGPipe, "GPipe"},
                                                                         {Expert::k1F1B, "1F1B"},
                                                                         {Expert::kInterleaved1F1B, "Interleaved-1F1B"},
                                                                         {Expert::kInterleavedZB, "Interleaved-ZB"},
                                                                         {Expert::kLoopedBFS, "Looped-BFS"},
                                                                         {Expert::kZB1P, "ZB1P"},
                                                                         {Expert::kZB2P, "ZB-2P"},
                                                                         {Expert::kZBV, "ZB-V"},
                                                                         {Expert::kVHalf, "V-Half"},
                                                                         {Expert::kVMin, "V-Min"},
                                                                         {Expert::kDualPipe, "DualPipe"},
                                                                         {Expert::kDualPipeV, "DualPipeV"}}};

/// Names of torch.distributed.pipelining that are not ours, without "Schedule".
constexpr std::array<std::pair<Expert, std::string_view>, 2> kOtherNames = {
    {{Expert::kInterleavedZB, "InterleavedZeroBubble"}, {Expert::kZBV, "ZBVZeroBubble"}}};

/// Letters and digits alone, in lower case.
std::string plain(std::string_view text) {
  std::string result;
  for (const char letter : text) {
    if (letter == '-' || letter == '_' || letter == ' ') continue;
    result += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  constexpr std::string_view kPrefix = "schedule";
  return result.starts_with(kPrefix) ? result.substr(kPrefix.size()) : result;
}

}  // namespace

std::string_view to_string(Expert expert) {
  for (const auto& [value, name] : kNames) {
    if (value == expert) return name;
  }
  throw InternalError("expert without a name");
}

std::optional<Expert> expert_from_string(std::string_view text) {
  const std::string wanted = plain(text);
  for (const auto& [value, name] : kNames) {
    if (plain(name) == wanted) return value;
  }
  for (const auto& [value, name] : kOtherNames) {
    if (plain(name) == wanted) return value;
  }
  return std::nullopt;
}

Expert expert_named(std::string_view text) {
  if (const auto expert = expert_from_string(text)) return *expert;
  std::string names;
  std::vector<std::string> plain_names;
  for (const auto& [value, name] : kNames) {
    names += (names.empty() ? "" : ", ") + std::string(name);
    plain_names.push_back(plain(name));
  }
  const std::vector<std::string_view> candidates(plain_names.begin(), plain_names.end());
  const std::string_view near = io::nearest(plain(text), candidates);
  std::string hint;
  if (!near.empty()) {
    const auto place = std::ranges::find(candidates, near) - candidates.begin();
    hint = "did you mean \"" + std::string(kNames[static_cast<std::size_t>(place)].second) + "\"?";
  }
  throw InputError("schedule is " + io::text_in_quotes(text) + ", expected one of " + names, std::move(hint));
}

}  // namespace opweave
