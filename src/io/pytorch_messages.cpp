#include "io/pytorch_messages.h"

#include <algorithm>
#include <map>
#include <set>

namespace opweave::detail {

namespace {

Cell message_cell(const Message& message, bool send) {
  const bool forward = message.producer.what == 'F';
  const Deed& end = send ? message.producer : message.consumer;
  Cell cell;
  cell.kind = send ? (forward ? CellKind::kSendForward : CellKind::kSendBackward)
                   : (forward ? CellKind::kReceiveForward : CellKind::kReceiveBackward);
  cell.action.stage = end.stage;
  cell.action.microbatch = end.microbatch;
  return cell;
}

struct Place {
  std::size_t row;
  std::size_t index;
};

/// Where every deed is done. \pre rows have passed summarise().
std::map<Deed, Place> places(const Rows& rows) {
  std::map<Deed, Place> result;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::size_t index = 0; index < rows[row].size(); ++index) {
      if (rows[row][index].kind != CellKind::kCompute) continue;
      for (const Deed& deed : deeds_of(rows[row][index].action)) result[deed] = {row, index};
    }
  }
  return result;
}

/// From one row to another.
struct Channel {
  std::size_t source;
  std::size_t destination;
  auto operator<=>(const Channel&) const = default;
};

Channel channel_of(const Message& message, const RowSummary& summary) {
  return {summary.row_of_stage[message.producer.stage], summary.row_of_stage[message.consumer.stage]};
}

/// One pass over every row, then a comparison of both ends of every channel. The first error stops it.
class MessageCheck {
 public:
  MessageCheck(const Rows& rows, const RowSummary& summary) : rows_(rows), summary_(summary), done_(places(rows)) {}

  std::optional<RowError> run() {
    for (row_ = 0; row_ < rows_.size() && !error_; ++row_) {
      reduced_.clear();
      gathered_.clear();
      for (const Cell& cell : rows_[row_]) {
        if (cell.kind == CellKind::kUnshard) gathered_[cell.action.stage] = false;
      }
      for (index_ = 0; index_ < rows_[row_].size() && !error_; ++index_) look_at(rows_[row_][index_]);
    }
    if (!error_) match_ends();
    if (!error_) compare_orders();
    return error_;
  }

 private:
  void fail(Place place, std::string reason) {
    if (!error_) error_ = RowError{place.row, place.index, std::move(reason)};
  }
  void fail(std::string reason) { fail({row_, index_}, std::move(reason)); }
  [[nodiscard]] static std::string stage_name(std::uint32_t stage) { return "stage " + std::to_string(stage); }

  void look_at(const Cell& cell) {
    if (cell.kind == CellKind::kCompute) {
      for (const Deed& deed : deeds_of(cell.action)) look_at(deed);
      return;
    }
    const std::uint32_t stage = cell.action.stage;
    if (stage >= summary_.row_of_stage.size() || summary_.row_of_stage[stage] != row_) {
      return fail(stage_name(stage) + " is not on row " + std::to_string(row_));
    }
    if (is_send(cell.kind) || is_receive(cell.kind)) return look_at_message(cell);
    if (cell.kind == CellKind::kReduceGradient) {
      if (!reduced_.insert(stage).second) fail("gradients of " + stage_name(stage) + " are reduced a second time");
      return;
    }
    bool& gathered = gathered_[stage];
    const bool gathers = cell.kind == CellKind::kUnshard;
    if (gathered == gathers) {
      fail("parameters of " + stage_name(stage) + (gathered ? " are" : " are not") + " gathered already");
    }
    gathered = gathers;
  }

  void look_at(const Deed& deed) {
    if (const auto message = incoming(deed, summary_); message && !received_.contains(*message)) {
      fail("no " + to_string(message_cell(*message, false)) + " before it");
    }
    if (const auto found = gathered_.find(deed.stage); found != gathered_.end() && !found->second) {
      fail("parameters of " + stage_name(deed.stage) + " are not gathered");
    }
    if (deed.what != 'F' && reduced_.contains(deed.stage)) {
      fail("comes after the reduction of gradients of " + stage_name(deed.stage));
    }
  }

  void look_at_message(const Cell& cell) {
    const auto message = message_of(cell, summary_);
    if (!message || cell.action.microbatch >= summary_.microbatches) {
      return fail("there is no such message between rows");
    }
    const bool sends = is_send(cell.kind);
    if (!(sends ? sent_ : received_).try_emplace(*message, Place{row_, index_}).second) {
      return fail("is done a second time");
    }
    (sends ? send_order_ : receive_order_)[channel_of(*message, summary_)].push_back(*message);
    if (sends && done_.at(message->producer).index > index_) fail("comes before " + text(message->producer));
  }

  /// Every message has a receive, or its consumer would have been found without one.
  void match_ends() {
    for (const auto& [message, place] : received_) {
      if (sent_.contains(message)) continue;
      fail(place, "no " + to_string(message_cell(message, true)) + " on row " +
                      std::to_string(channel_of(message, summary_).source));
    }
  }

  void compare_orders() {
    for (const auto& [channel, received] : receive_order_) {
      const std::vector<Message>& sent = send_order_.at(channel);
      const auto [expected, actual] = std::mismatch(sent.begin(), sent.end(), received.begin());
      if (expected == sent.end()) continue;
      fail(received_.at(*actual), "received out of order, row " + std::to_string(channel.source) + " sends " +
                                      to_string(message_cell(*expected, true)) + " first");
    }
  }

  const Rows& rows_;
  const RowSummary& summary_;
  std::map<Deed, Place> done_;
  std::size_t row_ = 0;
  std::size_t index_ = 0;
  std::set<std::uint32_t> reduced_;         // stages, in the row at hand
  std::map<std::uint32_t, bool> gathered_;  // for stages whose parameters the row gathers
  std::map<Message, Place> sent_;
  std::map<Message, Place> received_;
  std::map<Channel, std::vector<Message>> send_order_;
  std::map<Channel, std::vector<Message>> receive_order_;
  std::optional<RowError> error_;
};

}  // namespace

std::optional<RowError> check_messages(const Rows& rows, const RowSummary& summary) {
  return MessageCheck(rows, summary).run();
}

Rows with_messages(const Rows& rows, const RowSummary& summary) {
  const std::map<Deed, Place> done = places(rows);
  std::map<std::uint32_t, Place> last_backward;
  for (const auto& [deed, place] : done) {
    if (deed.what != 'W') continue;
    Place& last = last_backward.try_emplace(deed.stage, place).first->second;
    if (place.index > last.index) last = place;
  }

  // A receive stands just before its consumer, or before that of a message which follows it in the queue.
  std::map<Channel, std::vector<Message>> queues;  // in the order of sends
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (const Cell& cell : rows[row]) {
      for (const Deed& deed : deeds_of(cell.action)) {
        const auto message = outgoing(deed, summary);
        if (message) queues[channel_of(*message, summary)].push_back(*message);
      }
    }
  }
  std::map<std::pair<std::size_t, std::size_t>, std::vector<Message>> receives;  // by row and index
  for (const auto& [channel, queue] : queues) {
    std::vector<std::size_t> positions;
    for (const Message& message : queue) positions.push_back(done.at(message.consumer).index);
    for (std::size_t index = positions.size(); index-- > 1;) {
      positions[index - 1] = std::min(positions[index - 1], positions[index]);
    }
    for (std::size_t index = 0; index < positions.size(); ++index) {
      receives[{channel.destination, positions[index]}].push_back(queue[index]);
    }
  }

  Rows result(rows.size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::size_t index = 0; index < rows[row].size(); ++index) {
      if (const auto found = receives.find({row, index}); found != receives.end()) {
        for (const Message& message : found->second) result[row].push_back(message_cell(message, false));
      }
      result[row].push_back(rows[row][index]);
      for (const Deed& deed : deeds_of(rows[row][index].action)) {
        if (const auto message = outgoing(deed, summary)) result[row].push_back(message_cell(*message, true));
      }
      for (const Deed& deed : deeds_of(rows[row][index].action)) {
        if (deed.what != 'W' || last_backward.at(deed.stage).index != index) continue;
        Cell cell;
        cell.kind = CellKind::kReduceGradient;
        cell.action.stage = deed.stage;
        result[row].push_back(cell);
      }
    }
  }
  return result;
}

}  // namespace opweave::detail
