/// The part of the extension module that plans strategies.
#pragma once

#include <nanobind/nanobind.h>

namespace opweave::python {

void bind_strategies(nanobind::module_& m);

}  // namespace opweave::python
