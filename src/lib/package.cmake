# libvfsdax as others get it: names, versions, the archive that stands for itself, and what is installed.
include(CMakePackageConfigHelpers)

# ------------------------------------------------------------------ libvfsdax.so

set(map ${CMAKE_CURRENT_SOURCE_DIR}/libvfsdax.map)
set_target_properties(vfsdax_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0
  EXPORT_NAME vfsdax LINK_DEPENDS ${map})
target_link_options(vfsdax_shared PRIVATE -Wl,--as-needed -Wl,--version-script=${map})
if(NOT VFSDAX_SANITIZE) # clang's sanitizers are in the program, not in the library
  target_link_options(vfsdax_shared PRIVATE -Wl,-z,defs)
endif()

# ------------------------------------------------------------------ libvfsdax.a

# One object in which all names but the public ones are local, so that none of ours meets one of the
# program's: log_write() and list_del() are anybody's names.
set(whole ${CMAKE_CURRENT_BINARY_DIR}/whole.o)
set(packed ${CMAKE_CURRENT_BINARY_DIR}/vfsdax.o)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  set(no_lto -flinker-output=nolto-rel) # of code, not of what -flto left to do
endif()
add_custom_command(OUTPUT ${packed} VERBATIM COMMAND_EXPAND_LISTS
  COMMAND ${CMAKE_C_COMPILER} -r -nostdlib
    ${no_lto} -o ${whole} ${pieces}
  COMMAND ${CMAKE_OBJCOPY} --localize-hidden ${whole} ${packed}
  DEPENDS ${pieces}
  COMMENT "Packing libvfsdax.a")
target_sources(vfsdax_static PRIVATE ${packed})
set_target_properties(vfsdax_static PROPERTIES LINKER_LANGUAGE C EXPORT_NAME static)

# ------------------------------------------------------------------ installing

install(TARGETS vfsdax_shared vfsdax_static EXPORT vfsdaxTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
include(man/pages.cmake)
install(FILES ${CMAKE_SOURCE_DIR}/include/vfsdax/vfsdax.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/vfsdax)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/examples/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples
  USE_SOURCE_PERMISSIONS FILES_MATCHING PATTERN "0*.c" PATTERN "0*.py")

# Both packages find their prefix from where they lie: `cmake --install --prefix` may choose it.
set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vfsdax)
configure_package_config_file(vfsdaxConfig.cmake.in vfsdaxConfig.cmake
  INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(vfsdaxConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(EXPORT vfsdaxTargets NAMESPACE vfsdax:: DESTINATION ${config_dir})
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/vfsdaxConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/vfsdaxConfigVersion.cmake DESTINATION ${config_dir})

file(RELATIVE_PATH prefix_from_pc ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" prefix_from_pc "${prefix_from_pc}")
file(RELATIVE_PATH pc_libdir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH pc_includedir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(vfsdax.pc.in vfsdax.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/vfsdax.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
