# libsounder_cuda.so, where there is what it takes. scripts/cuda_toolkit.sh brings it from PyPI into
# build/cuda-toolkit for machines without an installation, to compile there.
# What was found once may be gone since; CMake keeps the compiler in a file of its own too.
foreach(found CMAKE_CUDA_COMPILER SOUNDER_NVCC SOUNDER_CUBLAS_INCLUDE SOUNDER_CUBLAS)
  if(DEFINED CACHE{${found}} AND NOT EXISTS "${${found}}")
    unset(${found} CACHE)
    file(REMOVE ${CMAKE_PLATFORM_INFO_DIR}/CMakeCUDACompiler.cmake)
  endif()
endforeach()
set(SOUNDER_CUDA_TOOLKIT ${CMAKE_CURRENT_SOURCE_DIR}/../build/cuda-toolkit/nvidia/cu13)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX} AND EXISTS ${SOUNDER_CUDA_TOOLKIT}/bin/nvcc)
  set(CMAKE_CUDA_COMPILER ${SOUNDER_CUDA_TOOLKIT}/bin/nvcc)
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${SOUNDER_CUDA_ARCHITECTURES})
endif()
if(NOT CMAKE_CUDA_COMPILER)
  find_program(SOUNDER_NVCC NAMES $ENV{CUDACXX} nvcc NAMES_PER_DIR PATHS /usr/local/cuda/bin)
  if(SOUNDER_NVCC)
    set(CMAKE_CUDA_COMPILER ${SOUNDER_NVCC})
  endif()
endif()
if(NOT CMAKE_CUDA_COMPILER)
  message(STATUS "CUDA's compiler not found: built without GPUs")
  return()
endif()

get_filename_component(CUDA_ROOT ${CMAKE_CUDA_COMPILER} REALPATH)
get_filename_component(CUDA_ROOT ${CUDA_ROOT}/../.. ABSOLUTE)
find_path(SOUNDER_CUBLAS_INCLUDE cublasLt.h HINTS ${CUDA_ROOT}/include ${SOUNDER_CUDA_TOOLKIT}/include
          PATHS /usr/local/cuda/include)
find_library(SOUNDER_CUBLAS NAMES cublasLt libcublasLt.so.13 HINTS ${CUDA_ROOT}/lib64 ${CUDA_ROOT}/lib
             ${SOUNDER_CUDA_TOOLKIT}/lib PATHS /usr/local/cuda/lib64)
if(NOT SOUNDER_CUBLAS_INCLUDE OR NOT SOUNDER_CUBLAS)
  message(STATUS "cuBLAS not found beside CUDA's compiler: built without GPUs")
  return()
endif()

# An older compiler, or one that does not get on with this machine's g++, is no reason to fail.
execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE SOUNDER_NVCC_VERSION ERROR_QUIET)
string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" SOUNDER_NVCC_VERSION "${SOUNDER_NVCC_VERSION}")
if(NOT CMAKE_MATCH_1 OR CMAKE_MATCH_1 VERSION_LESS 12.5)  # cudaGetDriverEntryPointByVersion
  message(STATUS "${CMAKE_CUDA_COMPILER} is older than CUDA 12.5: built without GPUs")
  return()
endif()
if(NOT DEFINED CACHE{CMAKE_CUDA_COMPILER})  # check_language looks only where it was told nothing
  set(ENV{CUDACXX} ${CMAKE_CUDA_COMPILER})
  unset(CMAKE_CUDA_COMPILER)
  include(CheckLanguage)
  check_language(CUDA)
endif()
if(NOT CMAKE_CUDA_COMPILER)
  message(STATUS "CUDA's compiler does not work here: built without GPUs")
  return()
endif()

enable_language(CUDA)
set(CMAKE_CUDA_STANDARD 17)  # CMake 3.25 knows no C++20 of nvcc's
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")

# CMake leaves it out of what is built where it takes the compiler's own folders for the system's.
get_filename_component(SOUNDER_CUBLAS_FOLDER ${SOUNDER_CUBLAS} DIRECTORY)
list(APPEND CMAKE_BUILD_RPATH ${SOUNDER_CUBLAS_FOLDER})

file(GLOB SOUNDER_CUDA_SOURCES CONFIGURE_DEPENDS src/cuda/*.cu src/cuda/*.cpp src/cuda/sampled/*.cu
     src/cuda/sampled/*.cpp)
list(FILTER SOUNDER_CUDA_SOURCES EXCLUDE REGEX "/loader.cpp$")
# Kernels with instructions of Hopper alone have an architecture of their own.
set(SOUNDER_HOPPER_SOURCES ${SOUNDER_CUDA_SOURCES})
list(FILTER SOUNDER_HOPPER_SOURCES INCLUDE REGEX "_hopper.cu$")
list(FILTER SOUNDER_CUDA_SOURCES EXCLUDE REGEX "_hopper.cu$")
add_library(sounder_cuda_objects OBJECT ${SOUNDER_CUDA_SOURCES})
add_library(sounder_hopper_objects OBJECT ${SOUNDER_HOPPER_SOURCES})
set_target_properties(sounder_hopper_objects PROPERTIES CUDA_ARCHITECTURES 90a)
foreach(objects sounder_cuda_objects sounder_hopper_objects)
  target_include_directories(${objects} PUBLIC include src src/cuda/gpu)  # gpu: tests put their own in its place
  target_include_directories(${objects} SYSTEM PUBLIC ${SOUNDER_CUBLAS_INCLUDE}
                             ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(${objects} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${SOUNDER_WARNINGS}>
    # constexpr functions run on both sides
    $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>)
  target_link_libraries(${objects} PUBLIC ${SOUNDER_CUBLAS})
endforeach()

add_library(sounder_cuda SHARED ${SOUNDER_IN_BOTH})
target_link_libraries(sounder_cuda PRIVATE sounder_cuda_objects sounder_hopper_objects)
set_target_properties(sounder_cuda PROPERTIES LINKER_LANGUAGE CUDA)
target_link_options(sounder_cuda PRIVATE -Wl,-z,nodelete)
message(STATUS "CUDA ${CMAKE_CUDA_COMPILER_VERSION}: builds for GPUs (${CMAKE_CUDA_ARCHITECTURES})")
