/* SPDX-License-Identifier: ISC */
/*
 * TCP segmentation (virtio 1.2 §5.1.6.2): a guest hands over a large segment
 * with headers for one, and says how much payload each shall have. Whoever
 * takes large ones gets it as it is; for others it is cut here.
 */
#ifndef VM_NET_SEGMENT_H
#define VM_NET_SEGMENT_H

struct frame;

enum {
	/* 64 KiB in pieces of 64 bytes: smaller ones are an attack. */
	SEGMENTS_MAX = 1024,
};

/*
 * Check the headers of a frame whose gso_type and gso_size are set, and note
 * where they are. -EINVAL: not what gso_type says, or not wholly within the
 * frame's head.
 */
int segment_check(struct frame *frame);

/* How many frames it stands for; 1 for an ordinary frame. */
unsigned segment_count(const struct frame *frame);

/*
 * Make segment i: its head is its own, its payload refers to the large
 * frame's, and its checksum is still to be done.
 */
void segment_make(const struct frame *frame, unsigned i, struct frame *segment);

#endif
