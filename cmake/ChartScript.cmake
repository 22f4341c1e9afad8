# Chart.js as a string within the program: the pages that it writes need no server and no network.
find_file(CHART_JS chart.min.js
  PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist NO_CMAKE_FIND_ROOT_PATH)
if(CHART_JS)
  file(READ ${CHART_JS} CHART_SCRIPT)
else()
  set(CHART_SCRIPT "")
  message(STATUS "Chart.js was not found: reports will have tables in place of charts")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/chart_script.cpp.in ${CMAKE_BINARY_DIR}/generated/chart_script.cpp @ONLY)
target_sources(tiller_io PRIVATE ${CMAKE_BINARY_DIR}/generated/chart_script.cpp)
