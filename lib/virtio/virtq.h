/* SPDX-License-Identifier: ISC */
/*
 * The device side of a virtqueue, split (virtio 1.2 §2.7) or packed (§2.8),
 * with indirect descriptors and EVENT_IDX. The driver is hostile: every index
 * and length is read once and checked; what breaks the rules breaks the queue
 * (-EPROTO and a reason), which then takes nothing more until it is set up
 * anew.
 *
 * A queue belongs to one thread. Elements taken may be given back in any
 * order.
 */
#ifndef LIB_VIRTIO_VIRTQ_H
#define LIB_VIRTIO_VIRTQ_H

#include "lib/virtio/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
	VIRTQ_SIZE_MAX = 32768, /* entries */
	/* Pieces of one request, both directions; IOV_MAX of Linux. */
	VIRTQ_PIECES_MAX = 1024,
	/* virtq_pop(): nothing there. */
	VIRTQ_EMPTY = 1,
};

/*
 * One request. The pieces are in guest memory, which the guest may change at
 * any time: copy what is checked before it is checked.
 */
struct virtq_element {
	uint16_t id;	  /* head index, or buffer id of a packed ring */
	uint16_t n_descs; /* descriptors used in the ring itself */
	uint16_t n_out, n_in;
	uint64_t out_len, in_len; /* bytes the device reads; may write */
	struct iovec *out;	  /* n_out pieces, then n_in pieces */
	struct iovec *in;
	uint64_t *in_gpa; /* guest physical address of each in piece */
	uint64_t counter; /* in-flight order; the owner's to use */
	uint16_t slot;	  /* in-flight entry; the owner's to use */
};

struct virtq_config {
	uint32_t size; /* entries; a power of two for a split ring */
	bool is_packed, has_event_idx, has_indirect;
	/*
	 * Rings, as guest physical addresses (virtio's names: descriptor
	 * area, driver area, device area).
	 */
	uint64_t desc_gpa, driver_gpa, device_gpa;
	/* Where to go on: see virtq_base(). */
	uint32_t base;
};

struct virtq;
struct virtq_packed_desc;

/*
 * Check and map the rings. memory is kept by reference. -EINVAL (size),
 * -EFAULT (a ring is not whole in memory). *reason names it.
 */
int virtq_new(struct virtq **queue, struct guest_memory *memory,
	      const struct virtq_config *config, const char **reason);
void virtq_free(struct virtq *queue);

/* Look the rings up again after the memory table changed. */
int virtq_remap(struct virtq *queue, const char **reason);

/*
 * Take the next request: 0 and *element (to be given back with virtq_push()
 * or virtq_drop()), VIRTQ_EMPTY, -ENOMEM, or -EPROTO: the queue is broken now
 * and virtq_reason() says why.
 */
int virtq_pop(struct virtq *queue, struct virtq_element **element);

/*
 * Take a split ring's request by its head index, as a back end does that
 * finds it in flight after a restart; the available index does not move.
 */
int virtq_pop_head(struct virtq *queue, uint16_t head,
		   struct virtq_element **element);

/*
 * A packed ring keeps no descriptor past its use, so an owner that may have
 * to do a request again after a restart keeps its descriptors: these are of
 * the request last popped, *n of them, until the next call.
 */
const struct virtq_packed_desc *virtq_last_descs(const struct virtq *queue,
						 unsigned *n);
/* Take a packed ring's request by descriptors so kept; the ring position does
 * not move. */
int virtq_pop_descs(struct virtq *queue, const struct virtq_packed_desc *descs,
		    unsigned n, struct virtq_element **element);

/*
 * Take back the last n elements popped, in reverse order, as if they had not
 * been (a network frame that does not fit yet). Elements are freed.
 */
void virtq_unpop(struct virtq *queue, struct virtq_element **elements,
		 unsigned n);

/*
 * Give a request back, `written` bytes of its in pieces having been written:
 * logs them, puts it in the used ring, frees it. Not visible to the driver
 * before virtq_flush().
 */
void virtq_push(struct virtq *queue, struct virtq_element *element,
		uint32_t written);
/* Publish what was pushed (used index, or the first packed flags). */
void virtq_flush(struct virtq *queue);
/* Free without giving back (the connection is gone). */
void virtq_drop(struct virtq *queue, struct virtq_element *element);

/* Does the driver want a call for what was published since the last ask? */
bool virtq_wants_call(struct virtq *queue);

/*
 * Ask for kicks (or not, while polling). After switching them on it returns
 * true if requests came in meanwhile: look again before sleeping.
 */
bool virtq_enable_kicks(struct virtq *queue, bool are_enabled);

/* Requests waiting, cheaply; at most what a full ring holds. */
bool virtq_is_empty(struct virtq *queue);

/*
 * Where the queue stands, as VHOST_USER_GET_VRING_BASE tells it: the next
 * available index of a split ring; for a packed one last-avail | wrap << 15 |
 * last-used << 16 | wrap << 31.
 */
uint32_t virtq_base(const struct virtq *queue);
/* Go on from there, as virtq_config.base; -EINVAL. */
int virtq_set_base(struct virtq *queue, uint32_t base);
/*
 * What became of a packed ring's entry that the device had to fill next,
 * index and wrap being its own: true if it is still the driver's request.
 */
bool virtq_packed_is_pending(const struct virtq *queue, uint16_t index,
			     bool wrap);
/*
 * Make n entries from there on look not used again: the flags of a batch are
 * written back to front, and a device that died meanwhile left some of them.
 */
void virtq_packed_revoke(struct virtq *queue, uint16_t index, bool wrap,
			 unsigned n);
/* Split ring: the used index as it was published last. */
uint16_t virtq_used_index(const struct virtq *queue);
uint32_t virtq_size(const struct virtq *queue);

bool virtq_is_broken(const struct virtq *queue);
const char *virtq_reason(const struct virtq *queue);
/* Break it for a reason of the device's own (a request without a header). */
void virtq_break(struct virtq *queue, const char *reason);

/* Copy between a flat buffer and pieces, from byte `offset` of the pieces;
 * the bytes copied, less than len where the pieces end. */
size_t iov_read(const struct iovec *iov, unsigned n_iov, size_t offset,
		void *buf, size_t len);
size_t iov_write(const struct iovec *iov, unsigned n_iov, size_t offset,
		 const void *buf, size_t len);

#endif
