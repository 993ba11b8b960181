#include <gtest/gtest.h>

#include <string>

#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave::testing {
namespace {

TEST(ParseBytes, accepts_numbers_with_decimal_and_binary_units) {
  EXPECT_EQ(parse_bytes("0"), Bytes(0));
  EXPECT_EQ(parse_bytes("1000"), Bytes(1000));
  EXPECT_EQ(parse_bytes("7 B"), Bytes(7));
  EXPECT_EQ(parse_bytes("3kB"), Bytes(3000));
  EXPECT_EQ(parse_bytes("1KB"), Bytes(1000));
  EXPECT_EQ(parse_bytes("512MiB"), Bytes(512 * 1024 * 1024));
  EXPECT_EQ(parse_bytes("512mib"), Bytes(512 * 1024 * 1024));
  EXPECT_EQ(parse_bytes("512MIB"), Bytes(512 * 1024 * 1024));
  EXPECT_EQ(parse_bytes("80 GiB"), Bytes(85'899'345'920));
  EXPECT_EQ(parse_bytes("1.5 GB"), Bytes(1'500'000'000));
  EXPECT_EQ(parse_bytes("0.1 TiB"), Bytes(109'951'162'777));  // 2^40 / 10 = ...777.6
  EXPECT_EQ(parse_bytes("2 TB"), Bytes(2'000'000'000'000));
  EXPECT_EQ(parse_bytes("9007199254740991"), Bytes(kMaxInputValue));
}

TEST(ParseBytes, rejects_everything_else) {
  for (const std::string text : {"",
                                 " ",
                                 "GiB",
                                 "-1",
                                 "+1",
                                 " 1",
                                 "1 ",
                                 "1  GB",
                                 "1.",
                                 ".5 GB",
                                 "1.5.5 GB",
                                 "1e9",
                                 "1 Gb",
                                 "1 Gib",
                                 "1 GiB ",
                                 "9007199254740992",
                                 "8192 TiB",
                                 "99999999999999999999",
                                 "0.1234567890123456789 GB",
                                 "0x10",
                                 "1,5 GB",
                                 "nan",
                                 "1 G",
                                 "1K",
                                 "1\nGB"}) {
    EXPECT_THROW((void)parse_bytes(text), InputError) << text;
  }
}

TEST(ParseDuration, reads_times_with_their_unit) {
  EXPECT_EQ(parse_duration("0"), Duration(0));
  EXPECT_EQ(parse_duration("1000"), Duration(1000));
  EXPECT_EQ(parse_duration("3.4s"), Duration(3'400'000'000));
  EXPECT_EQ(parse_duration("250 ms"), Duration(250'000'000));
  EXPECT_EQ(parse_duration("1.0005us"), Duration(1000));  // a part of a nanosecond is cut off
  for (const char* text : {"", "s", "-1s", "1 h", "1.s", "1 S", "1e9", "1  s", "9007199254740992"}) {
    EXPECT_THROW((void)parse_duration(text), InputError) << text;
  }
}

}  // namespace
}  // namespace opweave::testing
