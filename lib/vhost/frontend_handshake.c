/* SPDX-License-Identifier: ISC */
/*
 * The handshake: what does the back end offer, and, after a reconnection, is
 * that still enough for what the guest was told the first time. Ends in
 * frontend_connected() or in a lost connection, which is tried again.
 *
 *	GET_FEATURES
 *	GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES
 *	SET_OWNER, SET_BACKEND_REQ_FD
 *	GET_QUEUE_NUM, GET_MAX_MEM_SLOTS
 *	SET_CONFIG (what the driver had written), GET_CONFIG
 */
#include "lib/vhost/frontend_internal.h"
#include "protocols/virtio.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))

enum {
	CONFIG_HEADER = offsetof(struct vhost_user_config, data),
};

/*
 * Feature bits that are for the guest to choose. Of the reserved ones only
 * those with a meaning here: no notification data (a kick is an eventfd), no
 * platform address translation, no reset of single queues, no admin queues.
 */
static uint64_t guest_features(const struct vhost_frontend *frontend)
{
	uint64_t device = BIT(24) - 1;
	uint64_t beyond = ~(BIT(VIRTIO_F_RESERVED_END) - 1);
	uint64_t reserved = BIT(VIRTIO_F_INDIRECT_DESC) |
			    BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1) |
			    BIT(VIRTIO_F_IN_ORDER) |
			    BIT(VIRTIO_F_ORDER_PLATFORM);

	/*
	 * A packed ring does not say where its device stood. So it can be
	 * had only if there will be no other back end that asks.
	 */
	if (frontend->options.reconnect_seconds == FRONTEND_RECONNECT_NEVER)
		reserved |= BIT(VIRTIO_F_RING_PACKED);
	return frontend->offered & (device | reserved | beyond);
}

static uint64_t spoken_protocol(const struct vhost_frontend *frontend)
{
	uint64_t spoken = BIT(VHOST_USER_PROTOCOL_F_MQ) |
			  BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
			  BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
			  BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
			  BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
			  BIT(VHOST_USER_PROTOCOL_F_STATUS);

	if (!frontend->options.is_in_order)
		spoken |= BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	/* Else the memory goes by one SET_MEM_TABLE, which all know. */
	if (frontend->n_regions > VHOST_USER_MEM_TABLE_MAX)
		spoken |= BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
	return spoken;
}

/* Virtqueues that this connection can run. */
static unsigned count_queues(const struct vhost_frontend *frontend)
{
	const struct vhost_frontend_options *options = &frontend->options;
	uint64_t n = options->n_queues_fixed;

	if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_MQ)) {
		n = frontend->n_offered_queues;
		if (n > FRONTEND_QUEUES_MAX)
			n = FRONTEND_QUEUES_MAX;
		n *= options->queue_unit;
	}
	return n < options->n_queues ? (unsigned)n : options->n_queues;
}

/* Can it be what the guest needs? After this nothing is asked any more. */
static bool is_fit(struct vhost_frontend *frontend)
{
	uint64_t features = guest_features(frontend);
	unsigned n_queues = count_queues(frontend);
	uint64_t missing;

	if (!(features & BIT(VIRTIO_F_VERSION_1))) {
		frontend_lose(frontend, -EPROTO, "offers no virtio 1.0");
	} else if (n_queues < frontend->options.n_queues_fixed ||
		   n_queues == 0) {
		frontend_lose(frontend, -EPROTO,
			      "has %u queues, not the %u needed", n_queues,
			      frontend->options.n_queues_fixed);
	} else if (frontend->n_regions > VHOST_USER_MEM_TABLE_MAX &&
		   frontend->n_slots < frontend->n_regions) {
		frontend_lose(frontend, -EPROTO,
			      "takes less than %u memory regions",
			      frontend->n_regions);
	} else if (frontend->is_known) {
		/* What the guest chose if it did, else what it may choose. */
		missing = frontend->is_started ? frontend->driver_features
					       : frontend->features;
		missing &= ~features;
		if (missing)
			frontend_lose(frontend, -EPROTO,
				      "came back without features %#" PRIx64,
				      missing);
		else if (n_queues < frontend->n_queues)
			frontend_lose(frontend, -EPROTO,
				      "came back with %u queues, not %u",
				      n_queues, frontend->n_queues);
	}
	if (frontend->fd < 0)
		return false;
	if (!frontend->is_known) {
		frontend->features = features;
		frontend->protocol_features = frontend->offered_protocol;
		frontend->n_queues = n_queues;
	}
	return true;
}

static void finish(struct vhost_frontend *frontend)
{
	if (frontend->phase == FRONTEND_HANDSHAKE && is_fit(frontend))
		frontend_connected(frontend);
}

static void got_config(struct vhost_frontend *frontend,
		       struct vhost_message *reply)
{
	uint32_t size = frontend->options.config_size;
	const uint8_t *data = reply->payload.config.data;
	bool is_changed = false;

	frontend->is_reading_config = false;
	if (reply->header.size != CONFIG_HEADER + size) {
		frontend_lose(frontend, -EPROTO,
			      "has no %" PRIu32 " bytes of config space", size);
		return;
	}
	for (uint32_t i = 0; i < size; i++) {
		is_changed |= frontend->config[i] != data[i];
		frontend->config[i] = data[i];
	}
	if (frontend->must_read_config) {
		frontend->must_read_config = false;
		frontend_read_config(frontend);
	}
	if (is_changed && frontend->is_known && frontend->ops->config_changed)
		frontend->ops->config_changed(frontend->context);
	finish(frontend);
}

void frontend_read_config(struct vhost_frontend *frontend)
{
	uint32_t size = frontend->options.config_size;
	struct vhost_message message;

	/* One at a time, however often the back end says so. */
	if (frontend->is_reading_config) {
		frontend->must_read_config = true;
		return;
	}
	frontend->is_reading_config = true;
	vhost_message_init(&message, VHOST_USER_GET_CONFIG, 0,
			   CONFIG_HEADER + size);
	memset(&message.payload.config, 0, CONFIG_HEADER + size);
	message.payload.config.size = size;
	frontend_send(frontend, &message, got_config);
}

void frontend_write_config(struct vhost_frontend *frontend, uint32_t offset,
			   uint32_t len)
{
	struct vhost_message message;

	vhost_message_init(&message, VHOST_USER_SET_CONFIG, 0,
			   CONFIG_HEADER + len);
	message.payload.config.offset = offset;
	message.payload.config.size = len;
	message.payload.config.flags = 0;
	memcpy(message.payload.config.data, frontend->config + offset, len);
	frontend_send(frontend, &message, NULL);
}

/* A back end that was restarted does not know what the driver wrote. */
static void repeat_config(struct vhost_frontend *frontend)
{
	const bool *is_written = frontend->is_written;

	for (uint32_t i = 0, end; i < VHOST_USER_CONFIG_MAX; i = end + 1) {
		for (end = i; end < VHOST_USER_CONFIG_MAX && is_written[end];)
			end++;
		if (end > i)
			frontend_write_config(frontend, i, end - i);
	}
}

static void got_slots(struct vhost_frontend *frontend,
		      struct vhost_message *reply)
{
	frontend->n_slots = reply->payload.u64;
}

static void got_queue_num(struct vhost_frontend *frontend,
			  struct vhost_message *reply)
{
	frontend->n_offered_queues = reply->payload.u64;
}

static void got_sync(struct vhost_frontend *frontend,
		     struct vhost_message *reply)
{
	(void)reply;
	finish(frontend);
}

/* The rest, in one go: nothing of it depends on an answer to another. */
static void ask_rest(struct vhost_frontend *frontend)
{
	frontend_ask(frontend, VHOST_USER_SET_OWNER, NULL);
	if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_BACKEND_REQ))
		frontend_open_channel(frontend);
	if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_MQ))
		frontend_ask(frontend, VHOST_USER_GET_QUEUE_NUM, got_queue_num);
	if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS))
		frontend_ask(frontend, VHOST_USER_GET_MAX_MEM_SLOTS, got_slots);
	if (frontend_has(frontend, VHOST_USER_PROTOCOL_F_CONFIG) &&
	    frontend->options.config_size > 0) {
		repeat_config(frontend);
		frontend_read_config(frontend);
	} else {
		frontend_ask(frontend, VHOST_USER_GET_FEATURES, got_sync);
	}
}

static void got_protocol_features(struct vhost_frontend *frontend,
				  struct vhost_message *reply)
{
	frontend->offered_protocol =
		reply->payload.u64 & spoken_protocol(frontend);
	/* The channel is for config changes and nothing else. */
	if (!frontend_has(frontend, VHOST_USER_PROTOCOL_F_CONFIG))
		frontend->offered_protocol &=
			~BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ);
	if (frontend->options.needs_config &&
	    !frontend_has(frontend, VHOST_USER_PROTOCOL_F_CONFIG)) {
		frontend_lose(frontend, -EPROTO, "offers no config space");
		return;
	}
	frontend_tell(frontend, VHOST_USER_SET_PROTOCOL_FEATURES,
		      frontend->offered_protocol);
	ask_rest(frontend);
}

static void got_features(struct vhost_frontend *frontend,
			 struct vhost_message *reply)
{
	frontend->offered = reply->payload.u64;
	if (frontend->offered & BIT(VHOST_USER_F_PROTOCOL_FEATURES))
		frontend_ask(frontend, VHOST_USER_GET_PROTOCOL_FEATURES,
			     got_protocol_features);
	else if (frontend->options.needs_config)
		frontend_lose(frontend, -EPROTO, "offers no config space");
	else
		ask_rest(frontend);
}

void frontend_handshake(struct vhost_frontend *frontend)
{
	frontend->phase = FRONTEND_HANDSHAKE;
	frontend->offered = 0;
	frontend->offered_protocol = 0;
	frontend->n_offered_queues = 0;
	frontend->n_slots = 0;
	frontend->has_slots = false;
	frontend->has_rings = false;
	frontend->is_reading_config = false;
	frontend->must_read_config = false;
	frontend_ask(frontend, VHOST_USER_GET_FEATURES, got_features);
}
