#include "io/pytorch_channels.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "opweave/error.h"

namespace opweave::detail {

namespace {

/// Two things can be said of a cell: it has got its turn, and it is over.
struct Step {
  std::size_t row = 0;
  std::size_t index = 0;
  bool is_over = true;
  auto operator<=>(const Step&) const = default;
};

/// What has to be true before each step, as a graph whose circles are the deadlocks.
class WaitingGraph {
 public:
  WaitingGraph(const Rows& rows, const RowSummary& summary, ChannelModel model)
      : rows_(rows), summary_(summary), model_(model) {
    for (std::size_t row = 0; row < rows.size(); ++row) {
      for (std::size_t index = 0; index < rows[row].size(); ++index) {
        const Cell& cell = rows[row][index];
        if (is_send(cell.kind)) sends_[*message_of(cell, summary)] = {row, index, true};
        if (is_receive(cell.kind)) receives_[*message_of(cell, summary)] = {row, index, true};
      }
    }
    for (std::size_t row = 0; row < rows.size(); ++row) add_row(row);
  }

  /// Takes away step after step that waits for nothing; follows what is left.
  [[nodiscard]] std::optional<std::vector<Step>> circle() {
    std::map<Step, std::vector<Step>> followers;
    std::map<Step, std::size_t> open;
    std::vector<Step> ready;
    for (const auto& [step, before] : waits_) {
      open[step] = before.size();
      if (before.empty()) ready.push_back(step);
      for (const Step& other : before) followers[other].push_back(step);
    }
    while (!ready.empty()) {
      const Step step = ready.back();
      ready.pop_back();
      for (const Step& follower : followers[step]) {
        if (--open[follower] == 0) ready.push_back(follower);
      }
    }
    const auto left = std::ranges::find_if(open, [](const auto& entry) { return entry.second > 0; });
    if (left == open.end()) return std::nullopt;
    std::vector<Step> path{left->first};
    while (true) {
      const std::vector<Step>& before = waits_.at(path.back());
      const Step next = *std::ranges::find_if(before, [&](const Step& step) { return open.at(step) > 0; });
      const auto seen = std::ranges::find(path, next);
      if (seen != path.end()) return std::vector<Step>(seen, path.end());
      path.push_back(next);
    }
  }

 private:
  void add_row(std::size_t row) {
    // What decides first comes first: it is the shorter story where there is a circle.
    std::optional<Step> computed;  // the last computation so far
    std::map<std::pair<std::uint32_t, bool>, Step> last_in_queue;
    for (std::size_t index = 0; index < rows_[row].size(); ++index) {
      const Cell& cell = rows_[row][index];
      const Step over{row, index, true};
      if (!is_send(cell.kind) && !is_receive(cell.kind)) {
        std::vector<Step>& before = waits_[over];
        if (cell.kind == CellKind::kCompute) {
          for (const Deed& deed : deeds_of(cell.action)) {
            if (const auto message = incoming(deed, summary_)) before.push_back(receives_.at(*message));
          }
        }
        if (computed) before.push_back(*computed);
        computed = over;
        continue;
      }
      const Step turn{row, index, false};
      std::vector<Step>& before = waits_[turn];
      const auto [place, is_first] = last_in_queue.try_emplace(queue_of(cell), over);
      if (!is_first) before.push_back(std::exchange(place->second, over));
      if (computed) before.push_back(*computed);
      end_message(cell, turn, over);
    }
  }

  void end_message(const Cell& cell, const Step& turn, const Step& over) {
    const Message message = *message_of(cell, summary_);
    std::vector<Step>& before = waits_[over];
    before.push_back(turn);
    if (model_.rendezvous) {
      Step other = (is_send(cell.kind) ? receives_ : sends_).at(message);
      other.is_over = false;
      before.push_back(other);
    } else if (is_receive(cell.kind)) {
      before.push_back(sends_.at(message));
    }
  }

  /// Peer and direction, as far as they tell queues of a row apart.
  [[nodiscard]] std::pair<std::uint32_t, bool> queue_of(const Cell& cell) const {
    const Message message = *message_of(cell, summary_);
    const std::uint32_t peer = summary_.row_of_stage[(is_send(cell.kind) ? message.consumer : message.producer).stage];
    switch (model_.queue) {
      case ChannelQueue::kRank:
        return {0, false};
      case ChannelQueue::kPair:
        return {peer, false};
      case ChannelQueue::kDirection:
        return {peer, is_send(cell.kind)};
      case ChannelQueue::kNone:
        break;
    }
    throw InternalError("messages without queues have no order to be proven");
  }

  const Rows& rows_;
  const RowSummary& summary_;
  const ChannelModel model_;
  std::map<Message, Step> sends_;
  std::map<Message, Step> receives_;
  std::map<Step, std::vector<Step>> waits_;
};

/// "\"0SEND_F1\" of row 0 ends with \"1RECV_F1\" of row 1, which comes after ...".
std::string describe(const Rows& rows, std::vector<Step> circle) {
  const auto name = [&](const Step& step) {
    return "\"" + to_string(rows[step.row][step.index]) + "\" of row " + std::to_string(step.row);
  };
  const auto same_cell = [](const Step& a, const Step& b) { return a.row == b.row && a.index == b.index; };
  // Begin where one cell gives way to another.
  while (same_cell(circle.back(), circle.front())) std::ranges::rotate(circle, circle.end() - 1);
  const auto verb = [&](const Step& step, const Step& next) {
    if (step.row != next.row) return next.is_over ? "needs" : "ends with";
    const bool is_input =
        rows[step.row][step.index].kind == CellKind::kCompute && is_receive(rows[next.row][next.index].kind);
    return is_input ? "needs" : "comes after";
  };
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < circle.size(); ++i) {
    const Step& next = circle[(i + 1) % circle.size()];
    if (!same_cell(circle[i], next)) parts.push_back(std::string(verb(circle[i], next)) + " " + name(next));
  }
  constexpr std::size_t kShown = 12;
  std::string result = name(circle.front());
  for (std::size_t i = 0; i < std::min(parts.size(), kShown); ++i) result += (i == 0 ? " " : ", which ") + parts[i];
  if (parts.size() > kShown) result += ", ... (" + std::to_string(parts.size() - kShown) + " more)";
  return result;
}

}  // namespace

std::optional<RowError> find_circle(const Rows& rows, const RowSummary& summary, ChannelModel model) {
  const auto circle = WaitingGraph(rows, summary, model).circle();
  if (!circle) return std::nullopt;
  const auto message = std::ranges::find_if(*circle, [&](const Step& step) {
    const CellKind kind = rows[step.row][step.index].kind;
    return is_send(kind) || is_receive(kind);
  });
  const Step& shown = message == circle->end() ? circle->front() : *message;
  return RowError{shown.row, shown.index,
                  "messages wait in a circle with " + to_string(model) + " channels: " + describe(rows, *circle)};
}

}  // namespace opweave::detail
