#include <gtest/gtest.h>

#include <string>

#include "io/json_reader.h"

namespace opweave::io {
namespace {

TEST(KeysSeen, finds_repeats_among_few_keys_and_among_many) {
  for (const int count : {1, 7, 8, 9, 40}) {
    std::vector<std::string> keys;
    for (int i = 0; i < count; ++i) keys.push_back("key" + std::to_string(i));
    KeysSeen seen;
    for (const std::string& key : keys) EXPECT_TRUE(seen.insert(key));
    for (const std::string& key : keys) EXPECT_FALSE(seen.insert(key)) << key << " of " << count;
    EXPECT_TRUE(seen.insert("another"));
  }
}

}  // namespace
}  // namespace opweave::io
