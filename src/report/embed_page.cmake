# cmake -DPAGE=folder -DOUTPUT=file.cpp -P embed_page.cmake
# One script out of all of a page: a name of one file is visible in those after it.
set(plan_scripts format model colours view draw vector control tables explain main)
set(strategy_scripts format theme strategy)
set(sweep_scripts format theme sweep)
file(READ ${PAGE}/style.css style)
set(texts "")
foreach(kind plan strategy sweep)
  set(script "")
  foreach(name ${${kind}_scripts})
    file(READ ${PAGE}/${name}.js text)
    string(APPEND script "${text}\n")
  endforeach()
  set(file ${kind})
  if(kind STREQUAL plan)
    set(file page)
  endif()
  file(READ ${PAGE}/${file}.html page)
  string(SUBSTRING ${kind} 0 1 first)
  string(SUBSTRING ${kind} 1 -1 rest)
  string(TOUPPER ${first} first)
  set(suffix ${first}${rest})
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
