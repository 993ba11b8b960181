/// Plays PyTorch's schedules with messages through, one model of channels at a time. Written from docs/messages.md
/// alone: it reads the text of the file and shares nothing with what makes or checks it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

namespace opweave::testing {

struct Transport {
  std::string queues;  ///< "rank", "pair", "direction"
  bool rendezvous;
};
inline const Transport kTransports[] = {{"rank", true},  {"pair", true},  {"direction", true},
                                        {"rank", false}, {"pair", false}, {"direction", false}};

/// End of the last action if F, I and W last `unit` each and a message `transfer`; nothing if some wait forever.
class ChannelSimulator {
 public:
  explicit ChannelSimulator(const std::string& csv) {
    std::map<std::string, std::pair<std::size_t, std::size_t>> sends;  // row and place, by what made the message
    std::map<std::string, std::pair<std::size_t, std::size_t>> receives;
    std::istringstream lines(csv);
    for (std::string line; std::getline(lines, line);) {
      rows_.emplace_back();
      std::istringstream cells(line);
      for (std::string cell; std::getline(cells, cell, ',');) rows_.back().push_back(parse(cell));
    }
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      for (std::size_t i = 0; i < rows_[row].size(); ++i) {
        const Cell& cell = rows_[row][i];
        if (!cell.message.empty()) (cell.sends ? sends : receives)[cell.message] = {row, i};
      }
    }
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      for (Cell& cell : rows_[row]) {
        if (!cell.message.empty()) cell.other_end = (cell.sends ? receives : sends).at(cell.message);
        for (const std::string& input : inputs(cell)) {
          const auto received = receives.find(input);  // none if it is made on this row
          if (received != receives.end() && received->second.first == row) {
            cell.received_at.push_back(received->second.second);
          }
        }
      }
    }
  }

  std::optional<std::int64_t> makespan(const Transport& transport, std::int64_t unit = 1, std::int64_t transfer = 0) {
    // Rounds of "what is known now", until nothing becomes known.
    std::vector<std::vector<std::optional<std::int64_t>>> turn(rows_.size());  // of messages: when it can begin
    std::vector<std::vector<std::optional<std::int64_t>>> end(rows_.size());
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      turn[row].resize(rows_[row].size());
      end[row].resize(rows_[row].size());
    }
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t row = 0; row < rows_.size(); ++row) {
        std::optional<std::int64_t> computed = 0;
        std::map<std::pair<std::size_t, bool>, std::optional<std::int64_t>> queue;  // end of the last message in it
        for (std::size_t i = 0; i < rows_[row].size(); ++i) {
          const Cell& cell = rows_[row][i];
          if (cell.message.empty()) {
            std::optional<std::int64_t> start = computed;
            for (const std::size_t at : cell.received_at) start = later(start, end[row][at]);
            if (start && !end[row][i]) {
              end[row][i] = *start + unit * static_cast<std::int64_t>(cell.deeds.size());
              changed = true;
            }
            computed = end[row][i];
            continue;
          }
          auto& last = queue.try_emplace(queue_of(cell, transport), 0).first->second;
          if (!turn[row][i]) turn[row][i] = later(computed, last);
          const auto [peer, at] = cell.other_end;
          std::optional<std::int64_t> over;
          if (transport.rendezvous) {
            over = plus(later(turn[row][i], turn[peer][at]), transfer);
          } else {
            over = cell.sends ? plus(turn[row][i], transfer) : later(turn[row][i], end[peer][at]);
          }
          changed = changed || (over && !end[row][i]);
          end[row][i] = over;
          last = over;
        }
      }
    }
    std::int64_t result = 0;
    for (const auto& row : end) {
      for (const auto& moment : row) {
        if (!moment) return std::nullopt;
        result = std::max(result, *moment);
      }
    }
    return result;
  }

 private:
  struct Cell {
    std::vector<std::string> deeds;  ///< "2F0", "2I0", "2W0"; none for messages and reductions
    std::string message;             ///< what made it: "2F0", "2I0"
    bool sends = false;
    std::pair<std::size_t, std::size_t> other_end;  ///< of a message: row and place
    std::vector<std::size_t> received_at;           ///< of a computation: places of its receives in the row
  };

  static std::optional<std::int64_t> later(std::optional<std::int64_t> a, std::optional<std::int64_t> b) {
    if (!a || !b) return std::nullopt;
    return std::max(*a, *b);
  }
  static std::optional<std::int64_t> plus(std::optional<std::int64_t> a, std::int64_t b) {
    if (!a) return std::nullopt;
    return *a + b;
  }

  static Cell parse(const std::string& text) {
    Cell cell;
    if (text.front() == '(') {
      const std::size_t middle = text.find(';');
      cell.deeds = parse(text.substr(1, middle - 1)).deeds;
      const Cell backward = parse(text.substr(middle + 1, text.find(')') - middle - 1));
      cell.deeds.insert(cell.deeds.end(), backward.deeds.begin(), backward.deeds.end());
      return cell;
    }
    const std::size_t letters = text.find_first_not_of("0123456789");
    const std::size_t number = text.find_last_not_of("0123456789") + 1;
    const std::string word = text.substr(letters, number - letters);
    const std::string microbatch = text.substr(number);
    const int stage = std::stoi(text);
    const auto deed = [&](int of, const char* letter) { return std::to_string(of) + letter + microbatch; };
    cell.sends = word.starts_with("SEND");
    if (word == "SEND_F") {
      cell.message = deed(stage, "F");
    } else if (word == "RECV_F") {
      cell.message = deed(stage - 1, "F");
    } else if (word == "SEND_B") {
      cell.message = deed(stage, "I");
    } else if (word == "RECV_B") {
      cell.message = deed(stage + 1, "I");
    } else if (word == "B") {
      cell.deeds = {deed(stage, "I"), deed(stage, "W")};
    } else if (word != "REDUCE_GRAD") {
      cell.deeds = {deed(stage, word.c_str())};
    }
    return cell;
  }

  /// Messages that a cell of computation needs, if they are messages at all.
  static std::vector<std::string> inputs(const Cell& cell) {
    std::vector<std::string> result;
    for (const std::string& deed : cell.deeds) {
      const std::size_t letter = deed.find_first_of("FIW");
      const int stage = std::stoi(deed);
      if (deed[letter] == 'F') result.push_back(std::to_string(stage - 1) + deed.substr(letter));
      if (deed[letter] == 'I') result.push_back(std::to_string(stage + 1) + deed.substr(letter));
    }
    return result;
  }

  static std::pair<std::size_t, bool> queue_of(const Cell& cell, const Transport& transport) {
    if (transport.queues == "rank") return {0, false};
    return {cell.other_end.first, transport.queues == "direction" && cell.sends};
  }

  std::vector<std::vector<Cell>> rows_;
};

}  // namespace opweave::testing
