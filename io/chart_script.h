#pragma once

namespace tiller {

/// Chart.js, minified; "" where Tiller was built without it. CMake makes it of the distribution's
/// file (cmake/ChartScript.cmake).
const char* chart_script();

}  // namespace tiller
