/// Damage to texts, for readers that must survive it.
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace opweave::testing {

/// Pieces of a text between which a cut makes most sense: words, numbers, strings, single signs.
inline std::vector<std::string> tokens_of(const std::string& text) {
  std::vector<std::string> tokens;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    const auto is_word = [&](std::size_t p) {
      return std::isalnum(static_cast<unsigned char>(text[p])) != 0 || text[p] == '.' || text[p] == '-' ||
             text[p] == '+' || text[p] == '_';
    };
    if (text[i] == '"') {
      while (end < text.size() && text[end] != '"') ++end;
      end = std::min(end + 1, text.size());
    } else if (is_word(i)) {
      while (end < text.size() && is_word(end)) ++end;
    }
    tokens.push_back(text.substr(i, end - i));
    i = end;
  }
  return tokens;
}

inline std::string join(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += token;
  return text;
}

/// Damages texts in the ways that files are damaged, and in some that only enemies think of.
class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : engine_(seed) {}

  std::string mutate(const std::string& text, const std::string& other) {
    std::string result = text;
    for (std::size_t rounds = below(8) == 0 ? 3 : 1; rounds > 0; --rounds) result = mutate_once(result, other);
    return result;
  }

 private:
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : engine_() % limit; }

  std::string mutate_once(std::string text, const std::string& other) {
    switch (below(16)) {
      case 0:  // flip a bit
        if (!text.empty()) text[below(text.size())] ^= static_cast<char>(1U << below(8));
        return text;
      case 1:  // any byte anywhere
        return text.insert(below(text.size() + 1), 1, static_cast<char>(below(256)));
      case 2:  // cut the end off
        return text.substr(0, below(text.size() + 1));
      case 3:  // lose a piece
        return text.empty() ? text : text.erase(below(text.size()), 1 + below(20));
      case 4:  // repeat a piece
        return splice(text, text);
      case 5:  // a piece of another file
        return splice(text, other);
      default:
        return mutate_tokens(text);
    }
  }

  std::string splice(std::string text, const std::string& from) {
    const std::size_t begin = below(from.size() + 1);
    return text.insert(below(text.size() + 1), from.substr(begin, below(200)));
  }

  std::string mutate_tokens(const std::string& text) {
    static const std::array<const char*, 32> kValues = {"-1",
                                                        "0",
                                                        "1e999",
                                                        "-1e999",
                                                        "NaN",
                                                        "-Infinity",
                                                        "9007199254740992",
                                                        "9223372036854775808",
                                                        "1.5",
                                                        "1e300",
                                                        "-0",
                                                        "01",
                                                        "null",
                                                        "true",
                                                        "[]",
                                                        "99999999999999999999",
                                                        "\"\\u0000\\n\"",
                                                        "{}",
                                                        "\"\"",
                                                        "[[",
                                                        "}}",
                                                        "1e-400",
                                                        "9007199254740990.5",
                                                        "1.00000000000000000001",
                                                        "9223372036854775808.0",
                                                        "12.0",
                                                        "1e3",
                                                        "-0.0",
                                                        "\"a\\u0000b\"",
                                                        "\"\\u001b[31m\\u202e\"",
                                                        "\"\\ud800\"",
                                                        "\"\xC2\x85\xE2\x80\xA8\""};
    std::vector<std::string> tokens = tokens_of(text);
    if (tokens.empty()) return text;
    const std::size_t at = below(tokens.size());
    switch (below(5)) {
      case 0:  // two tokens change places
        std::swap(tokens[at], tokens[below(tokens.size())]);
        break;
      case 1:  // a number becomes another value
        if (const std::size_t number =
                next(tokens, at,
                     [](const std::string& t) { return std::isdigit(static_cast<unsigned char>(t.front())) != 0; });
            number < tokens.size()) {
          tokens[number] = kValues[below(kValues.size())];
        }
        break;
      case 2:  // any token becomes another value
        tokens[at] = kValues[below(kValues.size())];
        break;
      case 3:  // a key or name is lost
        if (const std::size_t name = next_string(tokens, at); name < tokens.size())
          tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(name));
        break;
      default:  // a member is there twice
        if (const std::size_t name = next_string(tokens, at); name + 4 < tokens.size()) {
          const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(name);
          std::vector<std::string> member(first, first + 4);
          member.push_back(", ");
          tokens.insert(first, member.begin(), member.end());
        }
    }
    return join(tokens);
  }

  template <class Test>
  static std::size_t next(const std::vector<std::string>& tokens, std::size_t from, Test test) {
    while (from < tokens.size() && !test(tokens[from])) ++from;
    return from;
  }
  static std::size_t next_string(const std::vector<std::string>& tokens, std::size_t from) {
    return next(tokens, from, [](const std::string& t) { return t.front() == '"'; });
  }

  std::mt19937_64 engine_;
};

/// No sign that a terminal would act on.
inline bool is_one_clean_line(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F; });
}

}  // namespace opweave::testing
