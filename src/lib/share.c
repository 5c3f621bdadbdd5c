/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vfsdax/vfsdax.h"

const char *vfsdax_version(void)
{
	return VFSDAX_VERSION;
}
