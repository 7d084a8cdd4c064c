/* SPDX-License-Identifier: ISC */
/*
 * The vhost-user protocol on the wire (QEMU, docs/interop/vhost-user.rst):
 * a header, a payload, and descriptors beside them. All numbers are in the
 * machine's byte order, as both ends are on one machine.
 *
 * See vhost_user.md for what of it is used here.
 */
#ifndef PROTOCOLS_VHOST_USER_H
#define PROTOCOLS_VHOST_USER_H

#include <stdint.h>

#define VHOST_USER_PACKED __attribute__((packed))

/* Requests of the front end ("Front-end message types"). */
enum vhost_user_request {
	VHOST_USER_NONE = 0,
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SEND_RARP = 19,
	VHOST_USER_NET_SET_MTU = 20,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_IOTLB_MSG = 22,
	VHOST_USER_SET_VRING_ENDIAN = 23,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_CREATE_CRYPTO_SESSION = 26,
	VHOST_USER_CLOSE_CRYPTO_SESSION = 27,
	VHOST_USER_POSTCOPY_ADVISE = 28,
	VHOST_USER_POSTCOPY_LISTEN = 29,
	VHOST_USER_POSTCOPY_END = 30,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_GPU_SET_SOCKET = 33,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_VRING_KICK = 35,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_GET_SHARED_OBJECT = 41,
	VHOST_USER_SET_DEVICE_STATE_FD = 42,
	VHOST_USER_CHECK_DEVICE_STATE = 43,
	VHOST_USER_REQUEST_END,
};

/* Requests of the back end, on its own channel ("Back-end message types"). */
enum vhost_user_backend_request {
	VHOST_USER_BACKEND_IOTLB_MSG = 1,
	VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
	VHOST_USER_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
	VHOST_USER_BACKEND_VRING_CALL = 4,
	VHOST_USER_BACKEND_VRING_ERR = 5,
	VHOST_USER_BACKEND_SHARED_OBJECT_ADD = 6,
	VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP = 8,
	VHOST_USER_BACKEND_REQUEST_END,
};

/* Bit numbers of protocol features ("Protocol features"). */
enum {
	VHOST_USER_PROTOCOL_F_MQ = 0,
	VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
	VHOST_USER_PROTOCOL_F_RARP = 2,
	VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_USER_PROTOCOL_F_NET_MTU = 4,
	VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
	VHOST_USER_PROTOCOL_F_CROSS_ENDIAN = 6,
	VHOST_USER_PROTOCOL_F_CRYPTO_SESSION = 7,
	VHOST_USER_PROTOCOL_F_PAGEFAULT = 8,
	VHOST_USER_PROTOCOL_F_CONFIG = 9,
	VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 10,
	VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = 11,
	VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
	VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = 14,
	VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHOST_USER_PROTOCOL_F_STATUS = 16,
	VHOST_USER_PROTOCOL_F_XEN_MMAP = 17,
	VHOST_USER_PROTOCOL_F_SHARED_OBJECT = 18,
	VHOST_USER_PROTOCOL_F_DEVICE_STATE = 19,
};

/* Bit numbers among the virtio features that only vhost-user gives a
 * meaning. */
enum {
	VHOST_F_LOG_ALL = 26,
	VHOST_USER_F_PROTOCOL_FEATURES = 30,
};

/* Header flags. */
enum {
	VHOST_USER_VERSION = 1,
	VHOST_USER_VERSION_MASK = 3,
	VHOST_USER_FLAG_REPLY = 1 << 2,
	VHOST_USER_FLAG_NEED_REPLY = 1 << 3,
};

struct vhost_user_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload */
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_header) == 12, "wire size");

/* The u64 of SET_VRING_KICK, _CALL and _ERR. */
enum {
	VHOST_USER_VRING_INDEX_MASK = 0xff,
	VHOST_USER_VRING_NO_FD = 1 << 8,
};

struct vhost_user_vring_state {
	uint32_t index;
	uint32_t num;
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_vring_state) == 8, "wire size");

enum {
	VHOST_USER_VRING_F_LOG = 1 << 0,
};

/* Ring addresses are the front end's own ("user") addresses. */
struct vhost_user_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log; /* guest address under which the used ring is logged */
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "wire size");

struct vhost_user_mem_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t user;
	uint64_t mmap_offset;
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_mem_region) == 32, "wire size");

enum {
	VHOST_USER_MEM_TABLE_MAX = 8, /* regions of one SET_MEM_TABLE */
};

struct vhost_user_mem_table {
	uint32_t n_regions;
	uint32_t padding;
	struct vhost_user_mem_region regions[VHOST_USER_MEM_TABLE_MAX];
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_mem_table) == 264, "wire size");

struct vhost_user_mem_single {
	uint64_t padding;
	struct vhost_user_mem_region region;
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_mem_single) == 40, "wire size");

struct vhost_user_log {
	uint64_t mmap_size;
	uint64_t mmap_offset;
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_log) == 16, "wire size");

enum {
	VHOST_USER_CONFIG_MAX = 256, /* bytes of config space */
	VHOST_USER_CONFIG_FLAG_MIGRATION = 1 << 0,
};

/* The bytes of config space that follow are only as long as `size` says. */
struct vhost_user_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHOST_USER_CONFIG_MAX];
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_config) == 268, "wire size");

/*
 * The specification has 20 bytes; QEMU, libvhost-user and DPDK all send the
 * four of padding that C gives them, and refuse a message without.
 */
struct vhost_user_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t num_queues;
	uint16_t queue_size;
	uint32_t padding;
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_inflight) == 24, "wire size");

enum {
	VHOST_USER_STATE_SAVE = 0,
	VHOST_USER_STATE_LOAD = 1,
	VHOST_USER_STATE_PHASE_STOPPED = 0,
};

struct vhost_user_device_state {
	uint32_t direction;
	uint32_t phase;
} VHOST_USER_PACKED;
_Static_assert(sizeof(struct vhost_user_device_state) == 8, "wire size");

/*
 * The in-flight region ("Inflight I/O tracking"): for each queue a header and
 * one entry a descriptor, in memory that outlives the back end.
 */
enum {
	VHOST_USER_INFLIGHT_VERSION = 1,
};

struct vhost_user_inflight_split_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};
_Static_assert(sizeof(struct vhost_user_inflight_split_desc) == 16,
	       "shared memory");

struct vhost_user_inflight_split {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct vhost_user_inflight_split_desc desc[];
};
_Static_assert(sizeof(struct vhost_user_inflight_split) == 16, "shared memory");

struct vhost_user_inflight_packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next;
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};
_Static_assert(sizeof(struct vhost_user_inflight_packed_desc) == 32,
	       "shared memory");

struct vhost_user_inflight_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap_counter;
	uint8_t old_used_wrap_counter;
	uint8_t padding[7];
	struct vhost_user_inflight_packed_desc desc[];
};
_Static_assert(sizeof(struct vhost_user_inflight_packed) == 32,
	       "shared memory");

#endif
