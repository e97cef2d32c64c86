# libsounder_cuda.so once more, over an emulated GPU: the same sources, but for the headers in this folder. It lies
# in a folder of its own, beside links to what opens it, so that nothing but tests finds it.
set(EMULATED_FOLDER ${CMAKE_BINARY_DIR}/emulated)
set(EMULATED_SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/../tests/native/emulated_cuda)
file(GLOB EMULATED_RUNTIME CONFIGURE_DEPENDS ${EMULATED_SOURCES}/*.cpp)
file(GLOB EMULATED_KERNELS CONFIGURE_DEPENDS src/cuda/*.cu src/cuda/sampled/*.cu)
file(GLOB EMULATED_HOST CONFIGURE_DEPENDS src/cuda/*.cpp src/cuda/sampled/*.cpp)
list(FILTER EMULATED_KERNELS EXCLUDE REGEX "_hopper.cu$")
list(FILTER EMULATED_HOST EXCLUDE REGEX "/loader.cpp$")
foreach(kernel ${EMULATED_KERNELS})
  file(RELATIVE_PATH name ${CMAKE_CURRENT_SOURCE_DIR}/src ${kernel})
  file(CONFIGURE OUTPUT ${EMULATED_FOLDER}/${name}.cpp CONTENT "#include \"${name}\"\n")
  list(APPEND EMULATED_HOST ${EMULATED_FOLDER}/${name}.cpp)
endforeach()

add_library(emulated_cuda_objects OBJECT ${EMULATED_HOST} ${EMULATED_RUNTIME})
target_include_directories(emulated_cuda_objects PUBLIC ${EMULATED_SOURCES} include src)
target_compile_options(emulated_cuda_objects PRIVATE ${SOUNDER_WARNINGS} -Wno-unknown-pragmas -Wno-sign-compare
                       -ffp-contract=off)
if(SOUNDER_SANITIZE)
  target_compile_options(emulated_cuda_objects PUBLIC -fsanitize=address,undefined -fno-sanitize-recover=undefined
                         -fno-omit-frame-pointer -g -O1)
endif()
add_library(emulated_cuda SHARED ${SOUNDER_IN_BOTH})
target_link_libraries(emulated_cuda PRIVATE emulated_cuda_objects)
target_link_options(emulated_cuda PRIVATE -Wl,-z,nodelete -Wl,--no-undefined)
set_target_properties(emulated_cuda PROPERTIES OUTPUT_NAME sounder_cuda LIBRARY_OUTPUT_DIRECTORY ${EMULATED_FOLDER})
add_dependencies(emulated_cuda sounder)
add_custom_command(TARGET emulated_cuda POST_BUILD COMMAND ${CMAKE_COMMAND} -E create_symlink
                   $<TARGET_FILE:sounder> ${EMULATED_FOLDER}/$<TARGET_FILE_NAME:sounder>)

# The kernels of sampled attention alone.
add_executable(cuda_emulated_test ../tests/native/emulated_cuda/tests/cuda_sampled_test.cpp)
target_include_directories(cuda_emulated_test PRIVATE ../tests/native/gpu ../tests/native)
target_compile_options(cuda_emulated_test PRIVATE ${SOUNDER_WARNINGS})
target_link_libraries(cuda_emulated_test PRIVATE sounder_objects emulated_cuda_objects)
add_test(NAME cuda_emulated_test COMMAND cuda_emulated_test)

foreach(name best draw)
  add_executable(cuda_emulated_${name}_test ../tests/native/gpu/cuda_${name}_test.cpp)
  target_include_directories(cuda_emulated_${name}_test PRIVATE ../tests/native/gpu ../tests/native)
  target_compile_options(cuda_emulated_${name}_test PRIVATE ${SOUNDER_WARNINGS})
  target_link_libraries(cuda_emulated_${name}_test PRIVATE sounder_objects emulated_cuda_objects)
  add_test(NAME cuda_emulated_${name}_test COMMAND cuda_emulated_${name}_test)
endforeach()

# The emulated GPU itself.
add_executable(cuda_emulated_streams_test ../tests/native/emulated_cuda/tests/streams_test.cpp)
target_include_directories(cuda_emulated_streams_test PRIVATE ../tests/native)
target_compile_options(cuda_emulated_streams_test PRIVATE ${SOUNDER_WARNINGS})
target_link_libraries(cuda_emulated_streams_test PRIVATE sounder_objects emulated_cuda_objects)
add_test(NAME cuda_emulated_streams_test COMMAND cuda_emulated_streams_test)

# The tests of the forward, on it.
foreach(name device_decode_test device_failures_test device_host_attention_test device_host_test device_lsh_test device_stages_test device_test device_sampled_test device_strategies_test transformer_test transformer_bf16_test contexts_test api_threads_test)
  add_custom_command(TARGET ${name} POST_BUILD COMMAND ${CMAKE_COMMAND} -E make_directory ${EMULATED_FOLDER}
                     COMMAND ${CMAKE_COMMAND} -E create_symlink $<TARGET_FILE:${name}> ${EMULATED_FOLDER}/${name})
  add_dependencies(${name} emulated_cuda)
  add_test(NAME cuda_emulated_${name} COMMAND ${EMULATED_FOLDER}/${name})
  set_tests_properties(cuda_emulated_${name} PROPERTIES ENVIRONMENT "SOUNDER_DEVICE=cuda;SOUNDER_EMULATED=1")
endforeach()
