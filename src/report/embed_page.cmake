# cmake -DPAGE=folder -DOUTPUT=file.cpp -P embed_page.cmake
# One script out of all of a page: a name of one file is visible in those after it.
set(plan_scripts format model colours view draw vector control tables explain main)
set(strategy_scripts format strategy)
file(READ ${PAGE}/style.css style)
set(texts "")
foreach(kind plan strategy)
  set(script "")
  foreach(name ${${kind}_scripts})
    file(READ ${PAGE}/${name}.js text)
    string(APPEND script "${text}\n")
  endforeach()
  if(kind STREQUAL plan)
    file(READ ${PAGE}/page.html page)
    set(suffix Plan)
  else()
    file(READ ${PAGE}/strategy.html page)
    set(suffix Strategy)
  endif()
  string(REPLACE "@STYLE@" "${style}" page "${page}")
  string(REPLACE "@SCRIPT@" "${script}" page "${page}")
  # The data go between two halves, so that no text of a user is ever searched for a placeholder.
  string(FIND "${page}" "@PLAN@" middle)
  string(SUBSTRING "${page}" 0 ${middle} before)
  math(EXPR after_start "${middle} + 6")
  string(SUBSTRING "${page}" ${after_start} -1 after)
  string(APPEND texts "const char* const kPageBefore${suffix} = R\"opweave(${before})opweave\";
const char* const kPageAfter${suffix} = R\"opweave(${after})opweave\";
")
endforeach()
file(WRITE ${OUTPUT} "// Generated from src/report/page.
#include \"report/page.h\"

namespace opweave {
${texts}}  // namespace opweave
")
