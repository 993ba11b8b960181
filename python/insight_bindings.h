/// The part of the extension module that explains, compares and changes plans and strategies.
#pragma once

#include <nanobind/nanobind.h>

namespace opweave::python {

void bind_insight(nanobind::module_& m);

}  // namespace opweave::python
