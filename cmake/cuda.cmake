# LASNET_HAS_CUDA: whether the cuda backend is built. The library's part in C++ does not change with it; a stub takes
# the backend's place without.
set(LASNET_HAS_CUDA FALSE)
if(NOT LASNET_CUDA STREQUAL "OFF")
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(LASNET_HAS_CUDA TRUE)
  elseif(LASNET_CUDA STREQUAL "AUTO")
    message(STATUS "nvcc was not found: building without the cuda backend")
  else()
    message(FATAL_ERROR "LASNET_CUDA=ON needs nvcc, which was not found. Install the CUDA toolkit (13.0 is tested) and put "
                        "nvcc on the PATH or set CMAKE_CUDA_COMPILER, or build with -DLASNET_CUDA=OFF")
  endif()
endif()

# lasnet_find_gpus(OUT): the compute capabilities of this machine's GPUs, as architectures; empty where there is none.
function(lasnet_find_gpus out)
  execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE capabilities ERROR_QUIET
                  RESULT_VARIABLE failed)
  set(found)
  if(NOT failed)
    string(REGEX MATCHALL "[0-9]+\\.[0-9]" found "${capabilities}")
    list(TRANSFORM found REPLACE "\\." "")
    list(REMOVE_DUPLICATES found)
    list(SORT found COMPARE NATURAL)
  endif()
  set(${out} "${found}" PARENT_SCOPE)
endfunction()

if(LASNET_HAS_CUDA)
  # A list takes the place of the names in this run alone: the cache keeps what was asked for.
  if(LASNET_CUDA_ARCHITECTURES STREQUAL "AUTO")
    lasnet_find_gpus(LASNET_CUDA_ARCHITECTURES)
    if(NOT LASNET_CUDA_ARCHITECTURES)
      set(LASNET_CUDA_ARCHITECTURES 90)  # the one that all kernels are for
    endif()
  elseif(LASNET_CUDA_ARCHITECTURES STREQUAL "ALL")
    set(LASNET_CUDA_ARCHITECTURES 75 80 86 89 90)
  endif()
  message(STATUS "CUDA architectures: ${LASNET_CUDA_ARCHITECTURES}; the last one also as PTX, for newer GPUs")

  # Machine code for each architecture, and for later ones the last one's PTX.
  set(CMAKE_CUDA_ARCHITECTURES ${LASNET_CUDA_ARCHITECTURES})
  list(TRANSFORM CMAKE_CUDA_ARCHITECTURES APPEND "-real")
  list(POP_BACK LASNET_CUDA_ARCHITECTURES newest)
  list(POP_BACK CMAKE_CUDA_ARCHITECTURES)
  list(APPEND CMAKE_CUDA_ARCHITECTURES ${newest})
  list(APPEND LASNET_CUDA_ARCHITECTURES ${newest})
  if(CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
  endif()
  enable_language(CUDA)
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know nvcc's C++20 on Linux
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  find_package(CUDAToolkit REQUIRED)
  list(JOIN LASNET_CUDA_ARCHITECTURES " " LASNET_CUDA_ARCHITECTURES_TEXT)
endif()
