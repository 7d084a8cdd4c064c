/* SPDX-License-Identifier: ISC */
/*
 * A back end's messages about the device as a whole: features, config space,
 * status, reset, and the channel on which it speaks to the front end.
 */
#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/vhost/backend_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define BIT(n) (UINT64_C(1) << (n))

uint64_t backend_offered(struct vhost_backend *backend)
{
	const struct vhost_device_ops *ops = backend->ops;
	uint64_t features = ops->get_features
				    ? ops->get_features(backend->context)
				    : ops->features;

	return features | BIT(VIRTIO_F_VERSION_1) |
	       BIT(VIRTIO_F_INDIRECT_DESC) | BIT(VIRTIO_F_EVENT_IDX) |
	       BIT(VIRTIO_F_RING_PACKED) | BIT(VHOST_F_LOG_ALL) |
	       BIT(VHOST_USER_F_PROTOCOL_FEATURES);
}

uint64_t backend_offered_protocol(const struct vhost_backend *backend)
{
	const struct vhost_device_ops *ops = backend->ops;
	uint64_t features = BIT(VHOST_USER_PROTOCOL_F_MQ) |
			    BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
			    BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
			    BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
			    BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |
			    BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |
			    BIT(VHOST_USER_PROTOCOL_F_STATUS);

	if (ops->get_config)
		features |= BIT(VHOST_USER_PROTOCOL_F_CONFIG);
	if (ops->has_inflight)
		features |= BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
	if (ops->send_rarp)
		features |= BIT(VHOST_USER_PROTOCOL_F_RARP);
	return features;
}

static int reply_u64(struct vhost_message *message, uint64_t value)
{
	message->payload.u64 = value;
	backend_set_reply(message, sizeof(value));
	return 0;
}

int backend_get_features(struct vhost_backend *backend,
			 struct vhost_message *message)
{
	event_timer_deinit(&backend->greeting);
	return reply_u64(message, backend_offered(backend));
}

/*
 * Rings go on as they are: LOG_ALL is switched while they run, and what else
 * changes counts when a ring starts.
 */
int backend_set_features(struct vhost_backend *backend,
			 struct vhost_message *message)
{
	uint64_t features = message->payload.u64;

	if (features & ~backend_offered(backend))
		return backend_refuse(backend, "feature that was not offered");
	backend->features = features;
	backend->has_features = true;
	guest_memory_enable_log(&backend->memory,
				features & BIT(VHOST_F_LOG_ALL));
	if (backend->ops->set_features)
		backend->ops->set_features(backend->context, features);
	for (unsigned i = 0; i < backend->n_queues; i++) {
		struct vhost_queue *queue = &backend->queues[i];

		/* "Ring states": without protocol features all are enabled. */
		if (!(features & BIT(VHOST_USER_F_PROTOCOL_FEATURES)))
			queue->is_enabled = true;
		queue_update(queue);
	}
	return 0;
}

int backend_get_protocol_features(struct vhost_backend *backend,
				  struct vhost_message *message)
{
	return reply_u64(message, backend_offered_protocol(backend));
}

int backend_set_protocol_features(struct vhost_backend *backend,
				  struct vhost_message *message)
{
	if (message->payload.u64 & ~backend_offered_protocol(backend))
		return backend_refuse(backend, "feature that was not offered");
	backend->protocol_features = message->payload.u64;
	return 0;
}

int backend_ignore(struct vhost_backend *backend, struct vhost_message *message)
{
	(void)backend;
	(void)message;
	return 0;
}

int backend_get_queue_num(struct vhost_backend *backend,
			  struct vhost_message *message)
{
	unsigned n = backend->n_queues;

	/* QEMU and DPDK count a network device's queues in pairs. */
	if (backend->ops->device_id == VIRTIO_ID_NET)
		n /= 2;
	return reply_u64(message, n);
}

int backend_get_config(struct vhost_backend *backend,
		       struct vhost_message *message)
{
	struct vhost_user_config *config = &message->payload.config;
	uint8_t space[VHOST_USER_CONFIG_MAX] = { 0 };
	uint32_t size = config->size;

	/* What is beyond the device's config space reads as zeros, as front
	 * ends ask for the largest that they know. */
	backend->ops->get_config(backend->context, space);
	memcpy(config->data, space + config->offset, size);
	backend_set_reply(message,
			  (uint32_t)offsetof(struct vhost_user_config, data) +
				  size);
	return 0;
}

int backend_set_config(struct vhost_backend *backend,
		       struct vhost_message *message)
{
	const struct vhost_user_config *config = &message->payload.config;

	if (config->offset + config->size > backend->ops->config_size) {
		backend->reason = "beyond the config space";
		return -EINVAL;
	}
	if (!backend->ops->set_config) {
		/* On a migration's destination it is only said again. */
		if (config->flags & VHOST_USER_CONFIG_FLAG_MIGRATION)
			return 0;
		backend->reason = "config space is read-only";
		return -EACCES;
	}
	return backend->ops->set_config(backend->context, config->offset,
					config->data, config->size);
}

/* Stop all queues; 0 or BACKEND_WAIT. */
static int stop_all(struct vhost_backend *backend)
{
	bool is_complete = true;

	for (unsigned i = 0; i < backend->n_queues; i++)
		is_complete = queue_stop(&backend->queues[i]) && is_complete;
	return is_complete ? 0 : BACKEND_WAIT;
}

int backend_reset_device(struct vhost_backend *backend,
			 struct vhost_message *message)
{
	int r = stop_all(backend);

	(void)message;
	if (r != 0)
		return r;
	for (unsigned i = 0; i < backend->n_queues; i++)
		backend->queues[i].is_enabled = false;
	backend->status = 0;
	return 0;
}

/* Virtio 1.2 §2.1.2: writing 0 resets the device. */
int backend_set_status(struct vhost_backend *backend,
		       struct vhost_message *message)
{
	int r = message->payload.u64 == 0 ? stop_all(backend) : 0;

	if (r == 0)
		backend->status = message->payload.u64;
	return r;
}

int backend_get_status(struct vhost_backend *backend,
		       struct vhost_message *message)
{
	return reply_u64(message, backend->status);
}

int backend_send_rarp(struct vhost_backend *backend,
		      struct vhost_message *message)
{
	uint8_t mac[6];

	/* "The first 6 bytes of the payload" */
	memcpy(mac, &message->payload, sizeof(mac));
	backend->ops->send_rarp(backend->context, mac);
	return 0;
}

void backend_channel_close(struct vhost_backend *backend)
{
	event_source_remove(&backend->channel);
	vhost_receiver_deinit(&backend->channel_receiver);
	vhost_sender_deinit(&backend->channel_sender);
	close_fd(&backend->channel_fd);
}

/* Acknowledgements, which nobody asked for, and what waits to be sent. */
static void handle_channel(struct event_source *source, uint32_t events)
{
	struct vhost_backend *backend =
		container_of(source, struct vhost_backend, channel);
	const char *reason = NULL;
	int r = vhost_sender_flush(&backend->channel_sender,
				   backend->channel_fd);

	(void)events;
	while (r == 0)
		r = vhost_receive(&backend->channel_receiver,
				  backend->channel_fd, VHOST_TO_FRONTEND, true,
				  &reason);
	if (r == VHOST_RECEIVE_AGAIN) {
		uint32_t wanted = EPOLLIN;

		if (!vhost_sender_is_empty(&backend->channel_sender))
			wanted |= EPOLLOUT;
		event_source_set(&backend->channel, wanted);
		return;
	}
	if (r < 0)
		log_warn("%s: back end's channel: %s", backend->label,
			 reason ? reason : strerror(-r));
	backend_channel_close(backend);
}

int backend_set_channel(struct vhost_backend *backend,
			struct vhost_message *message)
{
	int fd = vhost_message_take_fd(message, 0);
	int flags;

	if (fd < 0)
		return backend_refuse(backend, "no descriptor");
	backend_channel_close(backend);
	backend->channel_fd = fd;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return -errno;
	if (event_source_add(backend->loop, &backend->channel, fd, EPOLLIN,
			     handle_channel) != 0) {
		backend_channel_close(backend);
		return backend_refuse(backend, "descriptor is no socket");
	}
	return 0;
}

void vhost_backend_config_changed(struct vhost_backend *backend)
{
	struct vhost_message message;
	int r;

	if (backend->channel_fd < 0 ||
	    !backend_has_protocol(backend, VHOST_USER_PROTOCOL_F_CONFIG))
		return;
	/* One that still waits says the same. */
	if (!vhost_sender_is_empty(&backend->channel_sender))
		return;
	vhost_message_init(&message, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG, 0,
			   0);
	r = vhost_send(&backend->channel_sender, backend->channel_fd, &message);
	if (r != 0)
		backend_channel_close(backend);
	else if (!vhost_sender_is_empty(&backend->channel_sender))
		event_source_set(&backend->channel, EPOLLIN | EPOLLOUT);
}
