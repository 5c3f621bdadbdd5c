# What CPack makes where there is no debian/: `cpack --config build/release/CPackConfig.cmake -G TGZ` or `-G RPM`. All in one package,
# below the prefix that was configured, which systemd's unit has in it.
set(CPACK_PACKAGE_VENDOR "The vfsdax authors")
set(CPACK_PACKAGE_CONTACT "The vfsdax authors")
set(CPACK_PACKAGE_DESCRIPTION_FILE ${CMAKE_SOURCE_DIR}/README.md)
set(CPACK_RESOURCE_FILE_README ${CMAKE_SOURCE_DIR}/README.md)
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/LICENSE)
set(CPACK_PACKAGE_FILE_NAME ${PROJECT_NAME}-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_GENERATOR TGZ)
set(CPACK_SOURCE_GENERATOR TGZ)
set(CPACK_SOURCE_PACKAGE_FILE_NAME ${PROJECT_NAME}-${PROJECT_VERSION})
set(CPACK_SOURCE_IGNORE_FILES "/\\\\.git/" "/\\\\.git$" "/build/")

# vfsdax-mount links libpci: it is under the GPL as a whole, the rest under the LGPL.
set(CPACK_RPM_PACKAGE_LICENSE "LGPL-2.1-or-later AND GPL-2.0-or-later")
set(CPACK_RPM_PACKAGE_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_RPM_PACKAGE_GROUP "System Environment/Base")
set(CPACK_RPM_FILE_NAME RPM-DEFAULT)
set(CPACK_RPM_PACKAGE_REQUIRES fuse3)
# Folders that are the system's.
set(CPACK_RPM_EXCLUDE_FROM_AUTO_FILELIST_ADDITION)
foreach(folder "" /bin /sbin /include /lib /lib/systemd /lib/systemd/system /share /share/man /share/man/man1 /share/man/man3
    /share/man/man8 /share/doc /share/bash-completion /share/bash-completion/completions /share/fish
    /share/fish/vendor_completions.d /share/zsh /share/zsh/site-functions /share/qemu /share/qemu/vhost-user
    /${CMAKE_INSTALL_LIBDIR} /${CMAKE_INSTALL_LIBDIR}/cmake /${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  list(APPEND CPACK_RPM_EXCLUDE_FROM_AUTO_FILELIST_ADDITION ${CMAKE_INSTALL_PREFIX}${folder})
endforeach()
include(CPack)
