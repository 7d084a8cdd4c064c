/* SPDX-License-Identifier: ISC */
/*
 * Linked into every target, around its work on one input: what it has
 * allocated at a time may not be more than 64 MiB, as the inputs are small and
 * only claim to be large. A target that takes more ends as one that crashes.
 */
#include <sanitizer/allocator_interface.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	LIMIT = 64 << 20,
};

static atomic_llong in_use;
static atomic_bool is_counted;

/* By the linker's --wrap. */
int __real_LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int __wrap_LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void count_allocation(const volatile void *p, size_t size)
{
	(void)p;
	if (!is_counted)
		return;
	in_use += (long long)size;
	if (in_use <= LIMIT)
		return;
	is_counted = false;
	fprintf(stderr, "fuzz: %lld bytes allocated, the last %zu at once\n",
		(long long)in_use, size);
	abort();
}

static void count_free(const volatile void *p)
{
	if (is_counted && p != NULL)
		in_use -= (long long)__sanitizer_get_allocated_size(p);
}

int __wrap_LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool is_installed;
	int result;

	if (!is_installed)
		is_installed = __sanitizer_install_malloc_and_free_hooks(
				       count_allocation, count_free) > 0;
	if (!is_installed)
		abort();
	in_use = 0;
	is_counted = true;
	result = __real_LLVMFuzzerTestOneInput(data, size);
	is_counted = false;
	return result;
}
