/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a compiled program has taken over from vfsdax.h: sizes, offsets, constants. A line each, for
 * tests/abi/check.sh. Every structure, member and constant of the header is named here.
 */
#include <stddef.h>
#include <stdio.h>

#include <vfsdax/vfsdax.h>

#define STRUCT(type) printf("struct %s %zu bytes\n", #type, sizeof(struct type))
#define MEMBER(type, member)                                                                      \
	printf("struct %s.%s at %zu, %zu bytes\n", #type, #member, offsetof(struct type, member), \
	       sizeof(((struct type *)NULL)->member))
#define CONSTANT(name) printf("%s = %lld\n", #name, (long long)(name))

int main(void)
{
	CONSTANT(VFSDAX_VERSION_MAJOR);
	CONSTANT(VFSDAX_LOG_ERROR);
	CONSTANT(VFSDAX_LOG_WARN);
	CONSTANT(VFSDAX_LOG_INFO);
	CONSTANT(VFSDAX_LOG_DEBUG);
	CONSTANT(VFSDAX_ATTACH_READONLY);
	CONSTANT(VFSDAX_ATTACH_NO_DAX);
	CONSTANT(VFSDAX_ATTACH_RECONNECT);
	CONSTANT(VFSDAX_ATTACH_NO_WATCH);
	CONSTANT(VFSDAX_MAP_WRITE);
	CONSTANT(VFSDAX_MAP_WHOLE);
	CONSTANT(VFSDAX_MAP_NOWAIT);
	CONSTANT(VFSDAX_DIRECT_DONTFORK);
	CONSTANT(VFSDAX_COMPLETION_COPIED);

	printf("enum vfsdax_log_level %zu bytes\n", sizeof(enum vfsdax_log_level));

	STRUCT(vfsdax_options);
	MEMBER(vfsdax_options, struct_bytes);
	MEMBER(vfsdax_options, timeout_ms);
	MEMBER(vfsdax_options, queues);
	MEMBER(vfsdax_options, flags);
	MEMBER(vfsdax_options, map_budget_bytes);
	MEMBER(vfsdax_options, log);
	MEMBER(vfsdax_options, log_ctx);
	MEMBER(vfsdax_options, reconnect_ms);
	MEMBER(vfsdax_options, reserved);

	STRUCT(vfsdax_info);
	MEMBER(vfsdax_info, struct_bytes);
	MEMBER(vfsdax_info, tag);
	MEMBER(vfsdax_info, source);
	MEMBER(vfsdax_info, no_dax_reason);
	MEMBER(vfsdax_info, window_bytes);
	MEMBER(vfsdax_info, map_alignment);
	MEMBER(vfsdax_info, map_budget_bytes);
	MEMBER(vfsdax_info, mapped_bytes);
	MEMBER(vfsdax_info, queues);
	MEMBER(vfsdax_info, device_failure);
	MEMBER(vfsdax_info, reconnects);
	MEMBER(vfsdax_info, reserved);

	STRUCT(vfsdax_dirent);
	MEMBER(vfsdax_dirent, ino);
	MEMBER(vfsdax_dirent, next);
	MEMBER(vfsdax_dirent, type);
	MEMBER(vfsdax_dirent, name);

	STRUCT(vfsdax_result);
	MEMBER(vfsdax_result, user_data);
	MEMBER(vfsdax_result, result);

	STRUCT(vfsdax_completion);
	MEMBER(vfsdax_completion, user_data);
	MEMBER(vfsdax_completion, result);
	MEMBER(vfsdax_completion, flags);
	MEMBER(vfsdax_completion, reserved_word);
	MEMBER(vfsdax_completion, reserved);
	return 0;
}
