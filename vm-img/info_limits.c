/* SPDX-License-Identifier: ISC */
#include "vm-img/info.h"

void info_limits_list(const struct image_limits *l,
		      struct info_limit list[INFO_LIMITS])
{
	const struct info_limit all[INFO_LIMITS] = {
		{ "write zeroes alignment", "write-zeroes-alignment",
		  l->write_zeroes_alignment },
		{ "request alignment", "request-alignment",
		  l->request_alignment },
		{ "min mem alignment", "min-mem-alignment",
		  l->min_mem_alignment },
		{ "discard alignment", "discard-alignment",
		  l->discard_alignment },
		{ "opt mem alignment", "opt-mem-alignment",
		  l->opt_mem_alignment },
		{ "max iov", "max-iov", l->max_iov },
		{ "max write zeroes", "max-write-zeroes", l->max_write_zeroes },
	};

	memcpy(list, all, sizeof(all));
}
