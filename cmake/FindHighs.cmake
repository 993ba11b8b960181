# Records where the solvers' libraries lie, for loading at run time: nothing is linked, and opweave builds and works
# without them. Sets Highs_LIBRARY (from the Python package highsbox) and Ortools_LIBRARY (from ortools) in the cache,
# or leaves them empty. Both come from the .venv of the source folder or from the python3 on the path.
find_program(OPWEAVE_PYTHON NAMES python3 HINTS ${PROJECT_SOURCE_DIR}/.venv/bin NO_CMAKE_PATH)

function(opweave_find_in_package variable package code)
  if(${variable} AND EXISTS "${${variable}}")
    return()
  endif()
  set(found "")
  if(OPWEAVE_PYTHON)
    execute_process(COMMAND ${OPWEAVE_PYTHON} -c "${code}" OUTPUT_VARIABLE found ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  endif()
  if(NOT EXISTS "${found}")
    message(STATUS "Python package ${package} not found: its solver is looked for again when opweave runs")
    set(found "")
  endif()
  set(${variable} "${found}" CACHE FILEPATH "Solver library from the Python package ${package}" FORCE)
endfunction()

opweave_find_in_package(Highs_LIBRARY highsbox
  "import highsbox, os; print(os.path.join(highsbox.highs_dist_dir(), 'lib', 'libhighs.so'))")
opweave_find_in_package(Ortools_LIBRARY ortools
  "import importlib.util as u, os; print(os.path.join(os.path.dirname(u.find_spec('ortools').origin or u.find_spec('ortools').submodule_search_locations[0] + '/x'), '.libs', 'libortools.so.9'))")
