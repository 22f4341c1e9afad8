# The distribution's packages where they are, else the pinned source releases.
include(FetchContent)
find_package(Threads REQUIRED)

find_package(nlohmann_json 3.11 QUIET)
if(NOT nlohmann_json_FOUND)
  FetchContent_Declare(nlohmann_json
    URL https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
    URL_HASH SHA256=d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
  FetchContent_MakeAvailable(nlohmann_json)
endif()

find_package(cxxopts 3 QUIET)
if(NOT cxxopts_FOUND)
  FetchContent_Declare(cxxopts
    URL https://github.com/jarro2783/cxxopts/archive/refs/tags/v3.1.1.tar.gz
    URL_HASH SHA256=523175f792eb0ff04f9e653c90746c12655f10cb70f1d5e6d6d9491420298a08)
  FetchContent_MakeAvailable(cxxopts)
endif()

find_path(STB_INCLUDE stb_image.h PATH_SUFFIXES stb)
if(NOT STB_INCLUDE)
  FetchContent_Declare(stb
    URL https://github.com/nothings/stb/archive/5736b15f7ea0ffb08dd38af21067c314d6a3aae9.tar.gz
    URL_HASH SHA256=d00921d49b06af62aa6bfb97c1b136bec661dd11dd4eecbcb0da1f6da7cedb4c)
  FetchContent_MakeAvailable(stb)
  set(STB_INCLUDE ${stb_SOURCE_DIR})
endif()
add_library(tiller_stb INTERFACE)
target_include_directories(tiller_stb SYSTEM INTERFACE ${STB_INCLUDE})
add_library(tiller::stb ALIAS tiller_stb)

find_package(ZLIB REQUIRED)
find_package(LibArchive REQUIRED)
add_library(tiller_archive INTERFACE)
target_link_libraries(tiller_archive INTERFACE LibArchive::LibArchive)
add_library(tiller::archive ALIAS tiller_archive)

find_package(ICU 70 REQUIRED COMPONENTS uc)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(yaml-cpp 0.6 REQUIRED)

# c10d's Gloo backend (several processes) needs Gloo's headers, which the wheel lacks; its code is in
# LibTorch.
find_path(GLOO_INCLUDE gloo/context.h)
