# What `cmake --install` installs: the program, the library, and what a C++ program needs to use it. The components are
# the packages of package.cmake.
include(CMakePackageConfigHelpers)

# Before 1.0 every minor version may change the ABI, so it is part of the shared library's name.
set(LASNET_ABI_VERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lasnet)

install(TARGETS lasnet_app COMPONENT program)
install(TARGETS lasnet_bench_app COMPONENT benchmark)
install(TARGETS lasnet_report_app COMPONENT report)
if(LASNET_SERVE)
  install(TARGETS lasnet_serve_app COMPONENT server)
endif()
install(FILES models/demo.safetensors DESTINATION ${CMAKE_INSTALL_DATADIR}/lasnet/models COMPONENT program)
install(DIRECTORY samples DESTINATION ${CMAKE_INSTALL_DATADIR}/lasnet COMPONENT program)
# The documentation, with everything that it links to (tests/docs).
install(FILES README.md ARCHITECTURE.md CHANGELOG.md CONTRIBUTING.md LICENSE SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
install(DIRECTORY docs examples packaging DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
install(FILES models/README.md models/demo.toml DESTINATION ${CMAKE_INSTALL_DOCDIR}/models COMPONENT program)
install(DIRECTORY models/recipes DESTINATION ${CMAKE_INSTALL_DOCDIR}/models COMPONENT program)
install(FILES samples/SOURCES.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/samples COMPONENT program)
install(FILES bench/peers/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/bench/peers COMPONENT program)
install(FILES scripts/export_onnx.py DESTINATION ${CMAKE_INSTALL_DOCDIR}/scripts COMPONENT program)
if(LASNET_TRAIN)
  # libtorch from a PyTorch wheel lies in no standard folder.
  set_target_properties(lasnet_train_app PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
  install(TARGETS lasnet_train_app COMPONENT training)
endif()

set(library lasnet)
if(BUILD_SHARED_LIBS)
  set(library lasnet_shared)
  set_target_properties(lasnet_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${LASNET_ABI_VERSION})
endif()
set_target_properties(${library} PROPERTIES EXPORT_NAME lasnet)
install(TARGETS ${library} EXPORT lasnet
        LIBRARY COMPONENT library NAMELINK_COMPONENT development
        ARCHIVE COMPONENT development)
install(EXPORT lasnet FILE lasnetTargets.cmake NAMESPACE lasnet:: DESTINATION ${config_dir} COMPONENT development)

install(DIRECTORY include/lasnet ${PROJECT_BINARY_DIR}/include/lasnet DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        COMPONENT development FILES_MATCHING PATTERN "*.h")
# The library's part of the documentation once more, in the folder of its own package.
set(development_doc ${CMAKE_INSTALL_DATADIR}/doc/liblasnet-dev)
install(FILES docs/library.md DESTINATION ${development_doc}/docs COMPONENT development)
install(DIRECTORY examples DESTINATION ${development_doc} COMPONENT development)

configure_package_config_file(cmake/lasnetConfig.cmake.in lasnetConfig.cmake INSTALL_DESTINATION ${config_dir}
                              NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(lasnetConfigVersion.cmake COMPATIBILITY SameMinorVersion)

# A static library's dependencies are its users' too. Paths are relative to the .pc file: `cmake --install --prefix` and
# unpacked packages may put everything elsewhere.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH pkgconfig_to_prefix ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir} ${CMAKE_INSTALL_PREFIX})
set(pkgconfig_requires "fmt libjpeg libpng libwebp zlib")
set(pkgconfig_libraries "-pthread")
if(LASNET_HAS_CUDA)
  string(APPEND pkgconfig_libraries " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
endif()
if(BUILD_SHARED_LIBS)
  set(pkgconfig_requires)
  set(pkgconfig_libraries)
endif()
configure_file(cmake/lasnet.pc.in lasnet.pc @ONLY)

install(FILES ${PROJECT_BINARY_DIR}/lasnetConfig.cmake ${PROJECT_BINARY_DIR}/lasnetConfigVersion.cmake
              cmake/FindWebP.cmake
        DESTINATION ${config_dir} COMPONENT development)
install(FILES ${PROJECT_BINARY_DIR}/lasnet.pc DESTINATION ${pkgconfig_dir} COMPONENT development)
