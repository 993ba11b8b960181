/// The part of the extension module that plans: one object for a running search, what it finds, and bounds.
#pragma once

#include <nanobind/nanobind.h>

namespace opweave::python {

void bind_search(nanobind::module_& m);

}  // namespace opweave::python
