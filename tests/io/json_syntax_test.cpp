#include "io/json_syntax.h"

#include <gtest/gtest.h>

#include "opweave/layout_files.h"

namespace opweave {
namespace {

using io::outermost_number;

TEST(OutermostNumber, is_found_wherever_the_outermost_object_has_it) {
  EXPECT_EQ(outermost_number(R"({"version": 2})", "version"), "2");
  EXPECT_EQ(outermost_number(R"({"version":2.0,"a":[]})", "version"), "2.0");
  EXPECT_EQ(outermost_number("{\n \"version\"\t:\r\n -1e3\n}", "version"), "-1e3");
  EXPECT_EQ(outermost_number(R"({"a": {"version": 7}, "b": [{"version": 8}], "version": 2})", "version"), "2");
  EXPECT_EQ(outermost_number(R"({"a": "version", "b": "}{][", "c\"": "\\", "version": 2})", "version"), "2");
}

TEST(OutermostNumber, is_nothing_where_there_is_none_or_the_text_ends_early) {
  for (const char* text :
       {"", "{}", "[]", "]]}}", "{\"version", R"({"version)", R"({"version")", R"({"version":)", R"({"version": "2"})",
        R"({"version": [2]})", R"(["version", 2])", R"([{"version": 2}])", R"({"a": {"version": 2}})", R"({"a\)"}) {
    EXPECT_FALSE(outermost_number(text, "version").has_value()) << text;
  }
}

TEST(LayoutOptions, are_those_of_version_2_and_the_rest_of_the_file_does_not_matter) {
  EXPECT_TRUE(has_layout_options(R"({"format": "opweave.graph", "version": 2, "operators": [)"));
  EXPECT_TRUE(has_layout_options(R"({"operators": [{"name": "version"}], "version": 2.0})"));
  EXPECT_FALSE(has_layout_options(R"({"version": 1, "captured": {"version": 2}})"));
  EXPECT_FALSE(has_layout_options(R"({"version": 3})"));
  EXPECT_FALSE(has_layout_options("not JSON"));
}

}  // namespace
}  // namespace opweave
