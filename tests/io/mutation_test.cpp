#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "io/text_of_any_kind.h"
#include "opweave/error.h"
#include "support/files.h"

namespace opweave::testing {
namespace {

/// Pieces of a text between which a cut makes most sense: words, numbers, strings, single signs.
std::vector<std::string> tokens_of(const std::string& text) {
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

std::string join(const std::vector<std::string>& tokens) {
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

struct Seed {
  TextKind kind;
  std::string text;
  PlanContext context;
};

std::vector<Seed> seeds() {
  const auto folder = tests_dir() / "golden/formats";
  const auto file = [&](const char* name) { return content_of(folder / name); };
  const PlanContext example;
  const PlanContext every_key{parse_graph(file("every_key.graph.json"), "g"),
                              parse_cluster(file("every_key.cluster.json"), "c")};
  const std::string fjs = "3 2 1.5\n2 1 1 5 2 2 7 1 4\n1 1 2 0\n3 2 1 3 2 4 1 1 9 1 2 8\n";
  const std::string msr = R"({"maxSizePerFPGA": 100.5, "maxFPGAs": 2, "maxCPUs": 1, "nodes": [
    {"id": 4, "supportedOnFpga": true, "cpuLatency": 10, "fpgaLatency": 1, "isBackwardNode": 0, "size": 60, "name": "a"},
    {"id": 7, "supportedOnFpga": 1, "cpuLatency": 20, "fpgaLatency": 2, "isBackwardNode": false, "colorClass": 1},
    {"id": 9, "supportedOnFpga": 0, "cpuLatency": 30, "fpgaLatency": 3.5, "isBackwardNode": 1, "colorClass": 1}],
    "edges": [{"sourceId": 4, "destId": 7, "cost": 0.5}, {"sourceId": 7, "destId": 9, "cost": 0.25}]})";
  return {{TextKind::kGraph, file("two_stage.graph.json"), example},
          {TextKind::kGraph, file("every_key.graph.json"), example},
          {TextKind::kCluster, file("two_gpus.cluster.json"), example},
          {TextKind::kCluster, file("every_key.cluster.json"), example},
          {TextKind::kPlan, file("two_stage.plan.json"), example},
          {TextKind::kPlan, file("every_key.plan.json"), every_key},
          {TextKind::kFjs, fjs, example},
          {TextKind::kMsr, msr, example},
          {TextKind::kPipeline, file("three_layers.pipeline.json"), example},
          {TextKind::kPipeline, file("unequal.pipeline.json"), example},
          {TextKind::kDurations, file("measured.durations.json"), example}};
}

bool is_one_clean_line(std::string_view text) {
  return std::none_of(text.begin(), text.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7F; });
}

TEST(Mutation, damaged_files_are_read_or_refused_in_one_clean_line) {
  constexpr std::size_t kMutations = 10'000;
  const std::vector<Seed> originals = seeds();
  std::size_t accepted = 0;
  std::size_t syntax_errors = 0;
  std::size_t other_errors = 0;
  for (std::size_t i = 0; i < kMutations; ++i) {
    const Seed& seed = originals[i % originals.size()];
    const std::string text = Mutator(i).mutate(seed.text, originals[(i / originals.size()) % originals.size()].text);
    std::string rewritten;
    try {
      rewritten = read_and_write(seed.kind, text, "file\n.json", seed.context);
    } catch (const InputError& error) {
      const std::string_view line = error.what();
      ++(line.find(": line ") == std::string_view::npos ? other_errors : syntax_errors);
      ASSERT_TRUE(is_one_clean_line(line)) << i << ": " << line;
      ASSERT_TRUE(is_one_clean_line(error.hint())) << i << ": " << error.hint();
      ASSERT_EQ(line.rfind("file\\n.json: ", 0), 0U) << i << ": " << line;
      ASSERT_LT(line.size(), 1100U) << i;
      continue;
    }
    ++accepted;
    // What was accepted is written in the format that it was written in, and read as the same.
    if (seed.kind == TextKind::kGraph || seed.kind == TextKind::kCluster || seed.kind == TextKind::kPlan) {
      ASSERT_EQ(read_and_write(seed.kind, rewritten, "again", seed.context), rewritten) << i;
    }
  }
  // All depths are reached: the mutations are neither harmless nor hopeless.
  EXPECT_GT(accepted, kMutations / 50);
  EXPECT_GT(syntax_errors, kMutations / 10);
  EXPECT_GT(other_errors, kMutations / 10);
  std::cout << accepted << " accepted, " << syntax_errors << " syntax errors, " << other_errors << " other errors\n";
}

}  // namespace
}  // namespace opweave::testing
