#include "io/whole_number.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave {
namespace {

using io::whole_number;
using io::WideInteger;

TEST(WholeNumber, is_told_from_the_digits_however_they_are_written) {
  EXPECT_TRUE(whole_number("0") == 0);
  EXPECT_TRUE(whole_number("-0") == 0);
  EXPECT_TRUE(whole_number("-0.0e-400") == 0);
  EXPECT_TRUE(whole_number("0e999999999999999999999999") == 0);
  EXPECT_TRUE(whole_number("12.0") == 12);
  EXPECT_TRUE(whole_number("1e3") == 1000);
  EXPECT_TRUE(whole_number("1E+3") == 1000);
  EXPECT_TRUE(whole_number("-0.5e1") == -5);
  EXPECT_TRUE(whole_number("1200e-2") == 12);
  EXPECT_TRUE(whole_number("0.00012e5") == 12);
  EXPECT_TRUE(whole_number("1" + std::string(400, '0') + "e-400") == 1);
  EXPECT_TRUE(whole_number("9007199254740991.00") == 9007199254740991);
  EXPECT_TRUE(whole_number("9223372036854775808") == WideInteger{1} << 63U);
  EXPECT_TRUE(whole_number("1.8446744073709551615e19") == WideInteger{std::numeric_limits<std::uint64_t>::max()});
}

TEST(WholeNumber, is_nothing_where_a_fraction_is_left_or_64_bits_are_too_few) {
  for (const char* text : {"0.5", "9007199254740990.5", "1.00000000000000000000000000001", "1e-400", "1e-1", "15e-1",
                           "1e400", "18446744073709551616", "1e999999999999999999999999", "-1e20"}) {
    EXPECT_FALSE(whole_number(text).has_value()) << text;
  }
}

/// Bytes of a tensor that are written so.
std::int64_t bytes_from(const std::string& number) {
  return parse_graph(R"({"format": "opweave.graph", "version": 1, "tensors": [{"name": "t", "bytes": )" + number +
                         R"(}], "operators": []})",
                     "g")
      .tensors()
      .front()
      .size.value();
}
std::string refusal_of(const std::string& number) {
  try {
    return std::to_string(bytes_from(number)) + " accepted";
  } catch (const InputError& error) {
    return error.what();
  }
}

TEST(Amounts, in_files_are_integers_by_what_is_written_not_by_what_a_double_makes_of_it) {
  EXPECT_EQ(bytes_from("12.0"), 12);
  EXPECT_EQ(bytes_from("1e3"), 1000);
  EXPECT_EQ(bytes_from("-0"), 0);
  EXPECT_EQ(bytes_from("-0.0"), 0);
  EXPECT_EQ(bytes_from("0e-400"), 0);
  EXPECT_EQ(bytes_from("9007199254740991.0"), 9007199254740991);
  const std::string expected = ", expected an integer of 0 to 9007199254740991";
  // Each of these is a whole number as a double: 2^53 - 2, 0, 1, 2^53, 2^63, 10^17.
  for (const std::string number : {"9007199254740990.5", "1e-400", "1.00000000000000000001", "9007199254740992.0",
                                   "9223372036854775808.0", "1e17"}) {
    EXPECT_EQ(refusal_of(number), "g: /tensors/0/bytes: value is " + number + expected);
  }
  EXPECT_EQ(refusal_of("1e400"), "g: /tensors/0/bytes: value is 1e400, expected a number that fits in 64 bits");
}

// Several numbers that a double rounds, and a name with the letters that pointers escape: each is told from the others.
TEST(Amounts, are_found_again_by_their_place) {
  const std::string text = R"({"format": "opweave.graph", "version": 1, "operators": [
    {"name": "a", "flops": 1e-400, "duration_ns": {"x/y~z": 2.0, "": 3e0}},
    {"name": "b", "flops": 1e300, "duration_ns": {"x/y~z": 1.00000000000000000001}}]})";
  try {
    (void)parse_graph(text, "g");
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(std::string(error.what()),
              "g: /operators/1/duration_ns/x~1y~0z: value is 1.00000000000000000001, expected an integer of 0 to "
              "9007199254740991");
  }
}

// Sums in plans reach 2^63 - 1 and seeds 2^64 - 1, written in any way that JSON has.
TEST(Amounts, beyond_those_that_a_double_holds_are_exact) {
  const auto graph = parse_graph(R"({"format": "opweave.graph", "version": 1, "operators": []})", "g");
  const auto cluster = parse_cluster(R"({"format": "opweave.cluster", "version": 1, "devices": [{"name": "d"}]})", "c");
  const auto plan_with = [&](const std::string& makespan, const std::string& seed) {
    const std::string text =
        R"({"format": "opweave.plan", "version": 1, "graph": "", "cluster": "", "status": "feasible", "makespan_ns": )" +
        makespan +
        R"(, "lower_bound_ns": 0, "gap": 1, "statistics": {"period_ns": 0, "bubble_ratio": 0, "utilisation": 0,
        "moved_bytes": 0, "parameter_copies": 0, "devices": [{"device": "d", "compute_busy_ns": 0, "bubble_ns": 0,
        "span_idle_ns": 0, "peak_memory_bytes": 0, "persistent_memory_bytes": 0, "sent_bytes": 0, "received_bytes": 0}]},
        "provenance": {"seed": )" +
        seed + R"(}, "tasks": []})";
    return parse_plan(text, "p", graph, cluster);
  };
  const Plan plan = plan_with("9.223372036854775807e18", "1.8446744073709551615e19");
  EXPECT_EQ(plan.statistics.makespan, Duration(std::numeric_limits<std::int64_t>::max()));
  EXPECT_EQ(plan.provenance.seed, std::numeric_limits<std::uint64_t>::max());
  EXPECT_THROW((void)plan_with("9.223372036854775808e18", "0"), InputError);
  EXPECT_THROW((void)plan_with("1e18", "18446744073709551615.5"), InputError);
}

}  // namespace
}  // namespace opweave
