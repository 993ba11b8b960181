// Cuts as people write them: numbers of layers, or layouts of Megatron-LM.
#include <algorithm>
#include <cctype>

#include "opweave/cut.h"
#include "opweave/error.h"
#include "training/take_number.h"

namespace opweave {
namespace {

using detail::take_number;

/// More layers than any model has, and few enough that a slip of the keyboard does not exhaust memory.
constexpr std::size_t kMostLetters = 100'000;

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

std::vector<std::uint32_t> read_numbers(std::string_view text) {
  std::vector<std::uint32_t> result;
  for (std::string_view rest = text;;) {
    const auto count = take_number(rest);
    if (!count) throw InputError("cut is " + quoted(text) + ", expected numbers with commas between them");
    result.push_back(*count);
    if (rest.empty()) return result;
    if (rest.front() != ',') throw InputError("cut is " + quoted(text) + ", expected a comma before " + quoted(rest));
    rest.remove_prefix(1);
  }
}

/// A layout as letters and bars, with everything that is repeated written out.
class LayoutReader {
 public:
  explicit LayoutReader(std::string_view text) : text_(text), rest_(text) {}

  std::string read() {
    std::string letters = sequence();
    if (!rest_.empty()) fail("\")\" closes no group");
    return letters;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw InputError("layout " + quoted(text_) + ", character " + std::to_string(text_.size() - rest_.size() + 1) +
                     ": " + what);
  }

  std::string sequence() {
    std::string result;
    while (!rest_.empty() && rest_.front() != ')') {
      const char letter = rest_.front();
      std::string item;
      if (letter == '(') {
        rest_.remove_prefix(1);
        item = sequence();
        if (rest_.empty()) fail("a group is not closed, expected \")\"");
        rest_.remove_prefix(1);
      } else if (letter == ',' || letter == ' ') {
        rest_.remove_prefix(1);
        continue;
      } else if (std::string_view("EtmL|").find(letter) != std::string_view::npos) {
        item = letter;
        rest_.remove_prefix(1);
      } else {
        fail("found " + quoted(rest_.substr(0, 1)) + ", expected E, t, m, L, |, a comma, or a group in parentheses");
      }
      result += repeated(item);
      if (result.size() > kMostLetters) fail("more than " + std::to_string(kMostLetters) + " layers and stages");
    }
    return result;
  }

  std::string repeated(const std::string& item) {
    if (rest_.empty() || rest_.front() != '*') return item;
    rest_.remove_prefix(1);
    const auto times = take_number(rest_);
    if (!times || *times == 0) fail("expected a number from 1 after \"*\"");
    if (item.size() > kMostLetters / *times) fail("more than " + std::to_string(kMostLetters) + " layers and stages");
    std::string result;
    for (std::uint32_t i = 0; i < *times; ++i) result += item;
    return result;
  }

  std::string_view text_;
  std::string_view rest_;
};

/// The order that every layout keeps: the embedding, transformer layers, those for further tokens, the loss.
void check_order(std::string_view text, const std::string& letters) {
  constexpr std::string_view kOrder = "EtmL";
  std::size_t reached = 0;
  for (const char letter : letters) {
    if (letter == '|') continue;
    const std::size_t place = kOrder.find(letter);
    const bool is_single = letter == 'E' || letter == 'L';
    if (place < reached || (is_single && std::ranges::count(letters, letter) > 1)) {
      throw InputError("layout " + quoted(text) + ": \"" + letter +
                       "\" is out of place, expected at most one E, then t, then m, then at most one L");
    }
    reached = place;
  }
}

std::vector<std::uint32_t> read_layout(std::string_view text) {
  const std::string letters = LayoutReader(text).read();
  check_order(text, letters);
  std::vector<std::uint32_t> result = {0};
  for (const char letter : letters) {
    if (letter == '|') {
      result.push_back(0);
    } else {
      ++result.back();
    }
  }
  return result;
}

}  // namespace

std::vector<std::uint32_t> parse_cut(std::string_view text, std::uint32_t layers) {
  const bool is_numbers = !text.empty() && std::isdigit(static_cast<unsigned char>(text.front())) != 0;
  std::vector<std::uint32_t> result = is_numbers ? read_numbers(text) : read_layout(text);
  std::uint64_t sum = 0;
  for (const std::uint32_t count : result) sum += count;
  if (sum != layers) {
    throw InputError((is_numbers ? "cut " : "layout ") + quoted(text) + " has " + std::to_string(sum) +
                     " layers, the pipeline has " + std::to_string(layers));
  }
  return result;
}

std::string to_string(const std::vector<std::uint32_t>& layers_of_stage) {
  std::string result;
  for (const std::uint32_t count : layers_of_stage) result += (result.empty() ? "" : ",") + std::to_string(count);
  return result;
}

}  // namespace opweave
