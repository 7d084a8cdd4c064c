/* SPDX-License-Identifier: ISC */
/* One function decides what is joined to KVM; all writes end in it. */
#include "vm-cpu/msix.h"

#include "lib/base/cleanup.h"
#include "vm-cpu/vm.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum {
	ENTRY = sizeof(struct pci_msix_entry),
};

static bool can_deliver(const struct msix *msix,
			const struct msix_source *source)
{
	const struct msix_vector *vector;

	if (!msix->is_enabled || msix->is_masked ||
	    source->vector >= msix->n_vectors)
		return false;
	vector = &msix->vectors[source->vector];
	return vector->gsi >= 0 &&
	       !(vector->entry.control & PCI_MSIX_ENTRY_MASKED);
}

static int route(struct msix *msix, const struct msix_vector *vector)
{
	const struct pci_msix_entry *entry = &vector->entry;
	uint64_t address =
		(uint64_t)entry->address_high << 32 | entry->address_low;

	return vm_msi_route(msix->vm, vector->gsi, address, entry->data);
}

static void detach(struct msix *msix, struct msix_source *source)
{
	if (source->is_attached)
		vm_irqfd_detach(msix->vm, source->fd,
				msix->vectors[source->vector].gsi);
	source->is_attached = false;
}

/*
 * Join what can be delivered, part what cannot. A route that KVM does not
 * take (an address that is none) leaves the vector silent, as hardware would.
 */
static void update(struct msix *msix)
{
	for (unsigned i = 0; i < msix->n_sources; i++) {
		struct msix_source *source = &msix->sources[i];
		const struct msix_vector *vector;

		if (!can_deliver(msix, source)) {
			detach(msix, source);
			continue;
		}
		vector = &msix->vectors[source->vector];
		if (route(msix, vector) < 0)
			detach(msix, source);
		else if (!source->is_attached)
			source->is_attached =
				vm_irqfd_attach(msix->vm, source->fd,
						vector->gsi) == 0;
	}
}

static void mask_all(struct msix *msix)
{
	for (unsigned i = 0; i < msix->n_vectors; i++)
		msix->vectors[i].entry = (struct pci_msix_entry){
			.control = PCI_MSIX_ENTRY_MASKED,
		};
}

int msix_init(struct msix *msix, struct vm *vm, unsigned n_vectors,
	      unsigned n_sources, const int *fds)
{
	*msix = (struct msix){ .vm = vm };
	if (n_vectors == 0 || n_vectors > MSIX_VECTORS_MAX)
		return -EINVAL;
	msix->vectors = calloc(n_vectors, sizeof(*msix->vectors));
	msix->sources = calloc(n_sources, sizeof(*msix->sources));
	if (!msix->vectors || !msix->sources)
		return -ENOMEM;
	msix->n_vectors = n_vectors;
	msix->n_sources = n_sources;
	for (unsigned i = 0; i < n_vectors; i++)
		msix->vectors[i].gsi = -1;
	for (unsigned i = 0; i < n_sources; i++)
		msix->sources[i] =
			(struct msix_source){ .fd = fds[i],
					      .vector = MSIX_NO_VECTOR };
	mask_all(msix);
	return 0;
}

void msix_reset(struct msix *msix)
{
	for (unsigned i = 0; i < msix->n_sources; i++) {
		detach(msix, &msix->sources[i]);
		msix->sources[i].vector = MSIX_NO_VECTOR;
	}
	for (unsigned i = 0; i < msix->n_vectors; i++) {
		if (msix->vectors[i].gsi >= 0)
			vm_msi_free(msix->vm, msix->vectors[i].gsi);
		msix->vectors[i].gsi = -1;
	}
	msix->is_enabled = false;
	msix->is_masked = false;
	mask_all(msix);
}

void msix_deinit(struct msix *msix)
{
	msix_reset(msix);
	free(msix->vectors);
	free(msix->sources);
	*msix = (struct msix){ .vm = NULL };
}

uint16_t msix_bind(struct msix *msix, unsigned i, uint16_t number)
{
	struct msix_source *source = &msix->sources[i];
	struct msix_vector *vector;

	detach(msix, source);
	source->vector = MSIX_NO_VECTOR;
	if (number >= msix->n_vectors)
		return MSIX_NO_VECTOR;
	vector = &msix->vectors[number];
	/* GSIs are for all devices: taken by those vectors that are used. */
	if (vector->gsi < 0)
		vector->gsi = vm_msi_alloc(msix->vm);
	if (vector->gsi < 0) {
		vector->gsi = -1;
		return MSIX_NO_VECTOR;
	}
	source->vector = number;
	update(msix);
	return number;
}

void msix_control(struct msix *msix, uint16_t control)
{
	msix->is_enabled = control & PCI_MSIX_ENABLE;
	msix->is_masked = control & PCI_MSIX_MASK_ALL;
	update(msix);
}

static bool is_pending(const struct msix *msix, unsigned vector)
{
	for (unsigned i = 0; i < msix->n_sources; i++) {
		const struct msix_source *source = &msix->sources[i];
		struct pollfd wait = { .fd = source->fd, .events = POLLIN };

		if (source->vector == vector && !source->is_attached &&
		    poll(&wait, 1, 0) == 1)
			return true;
	}
	return false;
}

static uint64_t read_pending(const struct msix *msix, uint64_t offset,
			     unsigned width)
{
	uint64_t bits = 0;

	for (unsigned i = 0; i < width * 8; i++) {
		uint64_t vector = offset * 8 + i;

		if (vector < msix->n_vectors &&
		    is_pending(msix, (unsigned)vector))
			bits |= UINT64_C(1) << i;
	}
	return bits;
}

uint64_t msix_read(const struct msix *msix, uint64_t offset, unsigned width)
{
	uint64_t value = 0;

	if (offset >= MSIX_PBA)
		return read_pending(msix, offset - MSIX_PBA, width);
	if (offset % width != 0 || offset / ENTRY >= msix->n_vectors)
		return 0;
	memcpy(&value,
	       (const uint8_t *)&msix->vectors[offset / ENTRY].entry +
		       offset % ENTRY,
	       width);
	return value;
}

/* Four or eight bytes, aligned; of others the standard says nothing. */
void msix_write(struct msix *msix, uint64_t offset, unsigned width,
		uint64_t value)
{
	struct msix_vector *vector;

	if ((width != 4 && width != 8) || offset % width != 0 ||
	    offset / ENTRY >= msix->n_vectors)
		return;
	vector = &msix->vectors[offset / ENTRY];
	memcpy((uint8_t *)&vector->entry + offset % ENTRY, &value, width);
	vector->entry.control &= PCI_MSIX_ENTRY_MASKED;
	update(msix);
}
