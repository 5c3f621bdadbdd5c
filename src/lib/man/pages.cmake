# The manual: vfsdax.3, and a page for each group of functions, which is made of the header and of the program that is its
# example (page.awk); `man vfsdax_close` leads to the page that has it.
set(header ${CMAKE_SOURCE_DIR}/include/vfsdax/vfsdax.h)
set(page_awk ${CMAKE_CURRENT_SOURCE_DIR}/man/page.awk)
set(man_dir ${CMAKE_CURRENT_BINARY_DIR}/man3)
file(GLOB examples CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/man/*.c)
set(pages)
set(links)
file(MAKE_DIRECTORY ${man_dir})
foreach(example ${examples})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${example})
  get_filename_component(group ${example} NAME_WE)
  set(page ${man_dir}/${group}.3)
  add_custom_command(OUTPUT ${page} VERBATIM
    COMMAND awk -v version=${PROJECT_VERSION} -f ${page_awk} ${example} ${header} > ${page}
    DEPENDS ${page_awk} ${example} ${header})
  list(APPEND pages ${page})

  file(READ ${example} head LIMIT 2000)
  string(REGEX MATCH "\n \\* functions: ([a-z_ *\n]+)\n \\* [a-z ]+:" head "${head}")
  string(REGEX MATCHALL "vfsdax_[a-z_]+" functions "${CMAKE_MATCH_1}")
  list(REMOVE_ITEM functions ${group})
  foreach(function ${functions})
    file(CONFIGURE OUTPUT ${man_dir}/${function}.3 CONTENT ".so man3/${group}.3\n" @ONLY)
    list(APPEND links ${man_dir}/${function}.3)
  endforeach()
endforeach()
add_custom_target(vfsdax_manual ALL DEPENDS ${pages})
install(FILES vfsdax.3 ${pages} ${links} DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
