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

/// One order of all computations and messages. Ends decide among what can come next, so that ends which do not
/// quite fit the rows (plans with tasks that take no time) do no harm.
class MessagePlacer {
 public:
  MessagePlacer(const Rows& rows, const RowSummary& summary, const std::vector<std::vector<std::int64_t>>& ends)
      : rows_(rows), summary_(summary), ends_(ends), done_(places(rows)), next_(rows.size()), result_(rows.size()) {
    for (const auto& [deed, place] : done_) {
      if (deed.what != 'W') continue;
      Place& last = last_backward_.try_emplace(deed.stage, place).first->second;
      if (place.index > last.index) last = place;
    }
  }

  Rows place() {
    for (std::size_t row = 0; row < rows_.size(); ++row) offer(row);
    while (!waiting_.empty()) {
      const Entry entry = *waiting_.begin();
      waiting_.erase(waiting_.begin());
      if (entry.message) {
        place_message(*entry.message);
      } else {
        place_computation(entry.row);
      }
    }
    for (std::size_t row = 0; row < rows_.size(); ++row) reduce(row);
    return std::move(result_);
  }

 private:
  /// What can come next, in the order in which it does: ties between computations by row, between messages by
  /// what makes them. Only that all rows use the same rule matters.
  struct Entry {
    std::int64_t end;
    std::size_t row;  ///< of a computation; beyond all rows for a message, which so comes after those
    std::optional<Message> message;
    auto operator<=>(const Entry&) const = default;
  };

  /// The next computation of a row, if what it needs is in its place.
  void offer(std::size_t row) {
    if (next_[row] == rows_[row].size()) return;
    for (const Deed& deed : deeds_of(rows_[row][next_[row]].action)) {
      const auto message = incoming(deed, summary_);
      if (message && !placed_.contains(*message)) return;
    }
    waiting_.insert({ends_[row][next_[row]], row, std::nullopt});
  }

  void place_computation(std::size_t row) {
    reduce(row);
    const std::size_t index = next_[row]++;
    result_[row].push_back(rows_[row][index]);
    for (const Deed& deed : deeds_of(rows_[row][index].action)) {
      if (const auto message = outgoing(deed, summary_)) waiting_.insert({ends_[row][index], rows_.size(), message});
    }
    offer(row);
  }

  void place_message(const Message& message) {
    const auto [source, destination] = channel_of(message, summary_);
    result_[source].push_back(message_cell(message, true));
    result_[destination].push_back(message_cell(message, false));
    placed_.insert(message);
    const Place consumer = done_.at(message.consumer);
    if (consumer.index == next_[destination]) offer(destination);
  }

  /// Reduces the gradients of stages whose last backward was the computation before.
  void reduce(std::size_t row) {
    if (next_[row] == 0) return;
    for (const Deed& deed : deeds_of(rows_[row][next_[row] - 1].action)) {
      if (deed.what != 'W' || last_backward_.at(deed.stage).index + 1 != next_[row]) continue;
      Cell cell;
      cell.kind = CellKind::kReduceGradient;
      cell.action.stage = deed.stage;
      result_[row].push_back(cell);
    }
  }

  const Rows& rows_;
  const RowSummary& summary_;
  const std::vector<std::vector<std::int64_t>>& ends_;
  const std::map<Deed, Place> done_;
  std::map<std::uint32_t, Place> last_backward_;  // by stage
  std::vector<std::size_t> next_;                 // computation of each row
  std::set<Message> placed_;
  std::set<Entry> waiting_;
  Rows result_;
};

}  // namespace

std::optional<RowError> check_messages(const Rows& rows, const RowSummary& summary) {
  return MessageCheck(rows, summary).run();
}

Rows with_messages(const Rows& rows, const RowSummary& summary, const std::vector<std::vector<std::int64_t>>& ends) {
  return MessagePlacer(rows, summary, ends).place();
}

}  // namespace opweave::detail
