/// Both kinds of models, for tests of all engines.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <type_traits>

#include "exact/engine.h"

namespace opweave::exact::testing {

using Models = ::testing::Types<MipModel, CpModel>;
class Names {
 public:
  template <class Model>
  static std::string GetName(int) {
    return std::is_same_v<Model, MipModel> ? "HiGHS" : "CpSat";
  }
};

}  // namespace opweave::exact::testing
