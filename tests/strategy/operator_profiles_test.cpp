#include "opweave/operator_profiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "opweave/error.h"

namespace opweave {
namespace {

/// Head, layers of two operators, tail; tables for 1 and 2 sequences, tensor 1 and 2, both algorithms.
OperatorProfiles random_profiles(std::mt19937& random, std::uint32_t layers) {
  const auto below = [&](std::uint32_t most) { return static_cast<double>(random() % most); };
  OperatorProfiles profiles;
  profiles.layer = 2;
  profiles.layers = layers;
  profiles.node_gb_per_s = {4, 8};
  profiles.fabric_gb_per_s = {2};
  for (const std::uint32_t sequences : {1U, 2U}) {
    for (const std::uint32_t tensor : {1U, 2U}) {
      for (const std::uint32_t algorithm : {0U, 1U}) {
        auto& table = profiles.tables[{sequences, tensor, algorithm}];
        for (const char* name : {"head", "a", "enc-attention-dropout", "tail"}) {
          table.push_back(
              {name, 1 + below(5), 1 + below(9), 1 + below(4), 1 + below(4), below(3), below(9), below(3), below(3)});
        }
      }
    }
  }
  return profiles;
}

/// The least value of all stages of one degree each, by enumeration.
class ProfileEnumeration {
 public:
  ProfileEnumeration(const OperatorProfiles& profiles, const ProfileTask& task) : profiles_(profiles), task_(task) {}

  double least() {
    for (sequences_ = 1; sequences_ <= 8; sequences_ *= 2) {
      if (task_.batch % sequences_ == 0) next(0, task_.devices);
    }
    return least_;
  }

 private:
  void next(std::size_t begin, std::uint32_t left) {
    if (begin == profiles_.operators()) {
      std::vector<ProfiledStage> stages = stages_;
      least_ = std::min(least_, value_profiled(profiles_, task_, sequences_, stages));
      return;
    }
    for (std::size_t end = begin + 1; end <= profiles_.operators(); ++end) {
      for (const std::uint32_t tensor : {1U, 2U}) {
        for (const std::uint32_t data : {1U, 2U}) {
          if (tensor * data > left) continue;
          for (std::uint32_t mask = 0; mask < 1U << (end - begin); ++mask) {
            ProfiledStage stage{begin, end, tensor, data, {}, 0, 0};
            for (std::size_t i = 0; i < end - begin; ++i) stage.made_again.push_back(((mask >> i) & 1U) != 0);
            stages_.push_back(stage);
            next(end, left - tensor * data);
            stages_.pop_back();
          }
        }
      }
    }
  }

  const OperatorProfiles& profiles_;
  const ProfileTask& task_;
  std::uint32_t sequences_ = 1;
  std::vector<ProfiledStage> stages_;
  double least_ = std::numeric_limits<double>::infinity();
};

TEST(CutProfiled, is_between_the_bound_and_the_best_of_all_stages) {
  std::mt19937 random(11);
  int optimal = 0;
  int feasible = 0;
  for (int i = 0; i < 40; ++i) {
    const OperatorProfiles profiles = random_profiles(random, 1 + static_cast<std::uint32_t>(i) % 2);
    const std::uint32_t devices = 1 + static_cast<std::uint32_t>(random() % 2);
    const ProfileTask task{devices, 2, 16, 20.0 + static_cast<double>(random() % 60)};
    const double expected = ProfileEnumeration(profiles, task).least();
    ProfiledAnswer answer = cut_profiled(profiles, task);
    if (!std::isfinite(expected)) {
      EXPECT_TRUE(answer.stages.empty()) << i;
      continue;
    }
    ++feasible;
    EXPECT_LE(answer.bound_ms, expected * (1 + 1e-9)) << i;
    EXPECT_GE(answer.value_ms, expected * (1 - 1e-9)) << i;
    if (answer.stages.empty()) continue;
    optimal += answer.value_ms <= expected * (1 + 1e-9) ? 1 : 0;
    EXPECT_DOUBLE_EQ(value_profiled(profiles, task, answer.sequences, answer.stages), answer.value_ms) << i;
  }
  EXPECT_GT(feasible, 20);
  // The longest stage is made least first, and then the sum: not always the best of both.
  EXPECT_GE(optimal * 10, feasible * 8);
}

TEST(ValueProfiled, adds_up_what_the_model_says) {
  // Two stages of two operators: head and a, dropout and tail; one sequence per microbatch, batch of 3.
  OperatorProfiles profiles;
  profiles.layer = 2;
  profiles.node_gb_per_s = {4};
  profiles.fabric_gb_per_s = {2};
  profiles.tables[{1, 1, 0}] = {{"head", 1, 2, 4, 8, 1, 3, 5, 6},
                                {"a", 2, 3, 8, 16, 1, 5, 2, 9},
                                {"enc-attention-dropout", 3, 4, 16, 8, 2, 6, 1, 1},
                                {"tail", 1, 1, 8, 0, 1, 2, 9, 9}};
  std::vector<ProfiledStage> stages = {{0, 2, 1, 1, {false, false}, 0, 0}, {2, 4, 1, 1, {false, false}, 0, 0}};
  // First: 1 + 2 + 2 + 3 ms, in 4 / 4 ms, out 16 / 4 ms = 13. Second: 3 + 4 + 1 + 1, in 16 / 4, out none = 13.
  // 13 x (3 - 1) + 26.
  EXPECT_DOUBLE_EQ(value_profiled(profiles, {2, 8, 3, 1000}, 1, stages), 52);
  // Weights 8 x 2, two microbatches of 4 + 3 + 5, reserved 5 + 6 of the operator before the last.
  EXPECT_DOUBLE_EQ(stages[0].memory_mb, 16 + 24 + 11);
  // Weights 8 x 3, one microbatch of 16 + 1.5 x 6 + 2, reserved: the weights, more than 1 + 1.
  EXPECT_DOUBLE_EQ(stages[1].memory_mb, 24 + 27 + 3);
  EXPECT_FALSE(std::isfinite(value_profiled(profiles, {2, 8, 3, 53}, 1, stages)));
}

TEST(ParseOperatorProfiles, names_line_and_value) {
  const std::string heading = "op_name,forward,backward,in,out,weights,activations,a,b\n";
  EXPECT_EQ(parse_operator_profiles(heading + "x,1000,2000,1,1,1,1,0,0\n", "p.csv").front().backward_ms, 2);
  const auto message = [&](const std::string& line) -> std::string {
    try {
      (void)parse_operator_profiles(heading + line, "p.csv");
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message("x,1\n"), "p.csv:2: has 2 columns, expected 9");
  EXPECT_EQ(message("x,1,fast,1,1,1,1,0,0\n"), "p.csv:2: value is \"fast\", expected a number from 0");
  EXPECT_EQ(message(""), "p.csv: has no operators");
}

}  // namespace
}  // namespace opweave
