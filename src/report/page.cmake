# The page of the report: page/*.html, *.css and *.js put together and turned into a C++ string when they change.
set(OPWEAVE_PAGE_DIR ${CMAKE_CURRENT_LIST_DIR}/page)
set(OPWEAVE_PAGE_SOURCE ${CMAKE_CURRENT_BINARY_DIR}/report_page.cpp)
file(GLOB OPWEAVE_PAGE_FILES CONFIGURE_DEPENDS ${OPWEAVE_PAGE_DIR}/*)
add_custom_command(
  OUTPUT ${OPWEAVE_PAGE_SOURCE}
  COMMAND ${CMAKE_COMMAND} -DPAGE=${OPWEAVE_PAGE_DIR} -DOUTPUT=${OPWEAVE_PAGE_SOURCE}
          -P ${CMAKE_CURRENT_LIST_DIR}/embed_page.cmake
  DEPENDS ${OPWEAVE_PAGE_FILES} ${CMAKE_CURRENT_LIST_DIR}/embed_page.cmake
  COMMENT "Embedding the report page")
