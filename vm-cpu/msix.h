/* SPDX-License-Identifier: ISC */
/*
 * MSI-X of one device (PCI 3.0 §6.8.2): the capability, the table and the
 * pending bits. An interrupt comes from a source, an eventfd that somebody
 * else writes; the driver binds sources to vectors. While its vector can be
 * delivered a source is joined to KVM (irqfd), and no thread of ours is woken
 * by it; while it is masked, what was written stays in the eventfd, and that
 * is the pending bit.
 *
 * Under the machine's lock (vm.h).
 */
#ifndef VM_CPU_MSIX_H
#define VM_CPU_MSIX_H

#include "protocols/pci.h"

#include <stdbool.h>
#include <stdint.h>

struct pci_device;
struct vm;

enum {
	/* The table and the pending bits share a BAR of this size. */
	MSIX_BAR_SIZE = 16 << 10,
	MSIX_PBA = 8 << 10, /* offset */
	MSIX_VECTORS_MAX = MSIX_PBA / sizeof(struct pci_msix_entry),
	MSIX_NO_VECTOR = 0xffff,
};

struct msix_vector {
	struct pci_msix_entry entry;
	int gsi; /* -1: none yet */
};

struct msix_source {
	int fd; /* not owned */
	uint16_t vector;
	bool is_attached;
};

struct msix {
	struct vm *vm;
	bool is_enabled, is_masked;
	unsigned n_vectors, n_sources;
	struct msix_vector *vectors;
	struct msix_source *sources;
};

/* fds of n_sources eventfds, which stay the caller's. */
int msix_init(struct msix *msix, struct vm *vm, unsigned n_vectors,
	      unsigned n_sources, const int *fds);
void msix_deinit(struct msix *msix);
/* As after power-on: disabled, all masked, nothing bound. */
void msix_reset(struct msix *msix);

/*
 * Bind a source to a vector. What it is bound to afterwards: the vector, or
 * MSIX_NO_VECTOR if that was asked for or there is no such one.
 */
uint16_t msix_bind(struct msix *msix, unsigned source, uint16_t vector);
/* The capability's control register was written. */
void msix_control(struct msix *msix, uint16_t control);

/* The BAR with the table and the pending bits. */
uint64_t msix_read(const struct msix *msix, uint64_t offset, unsigned width);
void msix_write(struct msix *msix, uint64_t offset, unsigned width,
		uint64_t value);

#endif
