/* SPDX-License-Identifier: ISC */
/*
 * Guest memory: one sealed memfd, so that no peer who is given it can cut it
 * short, mapped as one or two regions around the hole below 4 GiB. Written
 * through struct guest_memory, as everywhere (lib/virtio/memory.h); shared
 * with the back ends as a list of regions.
 */
#ifndef VM_CPU_RAM_H
#define VM_CPU_RAM_H

#include "lib/vhost/frontend.h"
#include "lib/virtio/memory.h"

#include <stdbool.h>

struct error;

enum {
	RAM_REGIONS_MAX = 2,
};

struct ram {
	int fd;
	uint64_t size;
	/* For KVM_SET_USER_MEMORY_REGION and vhost_frontend_new() alike. */
	struct vhost_frontend_region regions[RAM_REGIONS_MAX];
	unsigned n_regions;
	struct guest_memory memory;
};

#define RAM_INIT \
	{ \
		.fd = -1 \
	}

/* size in bytes, rounded up to (huge) pages. */
int ram_init(struct ram *ram, uint64_t size, bool with_hugepages,
	     struct error *err);
void ram_deinit(struct ram *ram);

/* All zero again, and given back to the host. */
int ram_clear(struct ram *ram);

/* The first byte above low RAM: loaders place things below it. */
uint64_t ram_low_end(const struct ram *ram);

/* len writable bytes at gpa, or NULL where they are not all RAM. */
void *ram_at(const struct ram *ram, uint64_t gpa, uint64_t len);

#endif
