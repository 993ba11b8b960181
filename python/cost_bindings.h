/// Durations from operations and bytes for Python.
#pragma once

#include <nanobind/nanobind.h>

namespace opweave::python {

void bind_costs(nanobind::module_& m);

}  // namespace opweave::python
