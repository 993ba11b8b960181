# cmake -DPAGE=folder -DOUTPUT=file.cpp -P embed_page.cmake
# One script out of all: a name of one file is visible in those after it.
set(script "")
foreach(name format model colours view draw vector control tables explain main)
  file(READ ${PAGE}/${name}.js text)
  string(APPEND script "${text}\n")
endforeach()
file(READ ${PAGE}/style.css style)
file(READ ${PAGE}/page.html page)
string(REPLACE "@STYLE@" "${style}" page "${page}")
string(REPLACE "@SCRIPT@" "${script}" page "${page}")
# The plan goes between two halves, so that no text of a user is ever searched for a placeholder.
string(FIND "${page}" "@PLAN@" middle)
string(SUBSTRING "${page}" 0 ${middle} before)
math(EXPR after_start "${middle} + 6")
string(SUBSTRING "${page}" ${after_start} -1 after)
file(WRITE ${OUTPUT} "// Generated from src/report/page.
#include \"report/page.h\"

namespace opweave {
const char* const kPageBeforePlan = R\"opweave(${before})opweave\";
const char* const kPageAfterPlan = R\"opweave(${after})opweave\";
}  // namespace opweave
")
