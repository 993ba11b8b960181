#include "report/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/format.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;

TEST(Names, are_readable_whatever_is_in_them) {
  EXPECT_EQ(readable("gpu0 é 设备"), "gpu0 é 设备");
  EXPECT_EQ(readable("a\x1b[31m\n\t\x7f\xc2\x9b\xe2\x80\xae\xff"), "a\\u001b[31m\\n\\t\\u007f\\u009b\\u202e\\xff");
  // Nothing is cut, and what is readable stays as it is.
  const std::string long_name(5'000, 'x');
  EXPECT_EQ(readable(long_name), long_name);
  EXPECT_EQ(readable(readable("\x1b")), readable("\x1b"));
}

TEST(Names, take_as_many_columns_as_a_terminal_gives_them) {
  EXPECT_EQ(width_of("gpu0"), 4U);
  EXPECT_EQ(width_of("été"), 3U);
  EXPECT_EQ(width_of("设备"), 4U);
  EXPECT_EQ(padded("é", 3), "é  ");
  EXPECT_EQ(padded("设", 3, true), " 设");
  EXPECT_EQ(padded("longer", 3), "longer");
}

TEST(Names, stay_whole_where_they_fit) {
  const ShortNames names = short_names({"rack.gpu0", "rack.gpu1"}, 9);
  EXPECT_EQ(names.left_out, "");
  EXPECT_THAT(names.names, ElementsAre("rack.gpu0", "rack.gpu1"));
}

TEST(Names, lose_what_all_begin_with_up_to_a_separator_where_they_do_not) {
  // All begin with "a/rack-1.gpu1"; the last separator in that is the point.
  const ShortNames names = short_names({"a/rack-1.gpu10", "a/rack-1.gpu1", "a/rack-1.gpu12"}, 5);
  EXPECT_EQ(names.left_out, "a/rack-1.");
  EXPECT_THAT(names.names, ElementsAre("gpu10", "gpu1", "gpu12"));
}

TEST(Names, keep_something_each_and_are_whole_where_they_have_no_beginning_in_common) {
  EXPECT_THAT(short_names({"node.", "node.a"}, 2).names, ElementsAre("node.", "node.a"));
  EXPECT_THAT(short_names({"alpha.one", "beta.two"}, 2).names, ElementsAre("alpha.one", "beta.two"));
  EXPECT_THAT(short_names({"alone-in-the-cluster"}, 2).names, ElementsAre("alone-in-the-cluster"));
  EXPECT_THAT(short_names({"gpu0", "gpu1"}, 2).names, ElementsAre("gpu0", "gpu1"));
}

TEST(Table, aligns_what_is_drawn_and_escapes_what_is_not) {
  EXPECT_EQ(table({{"name", "value"}, {"设备", "1"}, {"\x1b", "20"}}),
            "name    value\n"
            "设备        1\n"
            "\\u001b     20\n");
}

}  // namespace
}  // namespace opweave
