/* SPDX-License-Identifier: ISC */
/*
 * A guest's network card, served as a vhost-user back end (virtio 1.2 §5.1).
 *
 * Queue 0 is the guest's receiveq, in whose buffers frames are put at once or
 * not at all; so nothing waits for it, and its kicks are switched off. Queue
 * 1 is its transmitq; while it is being looked through its kicks are off too.
 *
 * One pair of queues: the switch is one thread, and more would only reorder.
 * Link status and MAC address are config space, which belongs to the front
 * end here (this back end offers no CONFIG, as DPDK's and others'), so their
 * features are for it to offer.
 */
#include "vm-net/port_vhost.h"

#include "lib/base/cleanup.h"
#include "lib/base/log.h"
#include "lib/vhost/backend.h"
#include "protocols/virtio_net.h"
#include "vm-net/bridge.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
	QUEUE_RX, /* the guest's */
	QUEUE_TX,
	N_QUEUES,
	/* Buffers of one frame. The smallest that a driver may make holds
	 * 1526 bytes (§5.1.6.3.1); one that makes much smaller ones loses. */
	CHAINS_MAX = 128,
	VIRTIO_F_VERSION_1_BIT = 32,
};

struct vhost_port {
	struct port port;
	struct vhost_backend *backend;
	struct vhost_queue *rx, *tx; /* NULL: not running */
	uint64_t features;
	size_t header_len;
	char label[16]; /* in messages: "port 3" */
	char name[24];	/* in the list of ports: "pid:4711" */
	void (*closed)(void *context, struct vhost_port *port);
	void *context;
};

static struct vhost_port *from_port(const struct port *port)
{
	return container_of(port, struct vhost_port, port);
}

static bool has_feature(const struct vhost_port *vp, unsigned bit)
{
	return (vp->features >> bit & 1) != 0;
}

static bool is_up(const struct port *port)
{
	const struct vhost_port *vp = from_port(port);

	return vp->rx != NULL && vhost_queue_is_enabled(vp->rx);
}

static uint64_t features(const struct port *port)
{
	return from_port(port)->features;
}

/*
 * Take buffers for len bytes. Their number, or 0 and the reason: then all are
 * back in the queue, for a frame that fits or for a driver that adds more.
 */
static unsigned take_buffers(struct vhost_port *vp, size_t len,
			     struct virtq_element **elements, enum drop *reason)
{
	bool is_mergeable = has_feature(vp, VIRTIO_NET_F_MRG_RXBUF);
	unsigned n_max = is_mergeable ? CHAINS_MAX : 1, n = 0;
	size_t room = 0;

	while (room < len) {
		*reason = DROP_TX_TOO_LONG;
		if (n == n_max)
			break;
		*reason = DROP_TX_NO_BUFFER;
		if (vhost_queue_pop(vp->rx, &elements[n]) != 0)
			break;
		room += elements[n++]->in_len;
	}
	if (room >= len)
		return n;
	vhost_queue_unpop(vp->rx, elements, n);
	return 0;
}

static enum drop deliver(struct port *port, struct frame *frame)
{
	struct vhost_port *vp = from_port(port);
	struct virtq_element *elements[CHAINS_MAX];
	struct virtio_net_hdr header;
	enum drop reason = DROP_NONE;
	size_t len = vp->header_len + frame->len, done = 0;
	unsigned n;

	if (!is_up(port))
		return DROP_TX_DOWN;
	n = take_buffers(vp, len, elements, &reason);
	if (n == 0)
		return reason;
	frame_make_header(frame, vp->features, n, &header);
	for (unsigned i = 0; i < n; i++) {
		struct virtq_element *element = elements[i];
		size_t here = len - done, at = 0;

		if (here > element->in_len)
			here = (size_t)element->in_len;
		/* The header may be in pieces, even in buffers, of its own. */
		if (done < vp->header_len) {
			at = vp->header_len - done;
			at = iov_write(element->in, element->n_in, 0,
				       (const uint8_t *)&header + done,
				       at < here ? at : here);
		}
		if (at < here)
			frame_copy(frame, done + at - vp->header_len,
				   element->in, element->n_in, at, here - at);
		done += here;
		vhost_queue_push(vp->rx, element, (uint32_t)here);
	}
	return DROP_NONE;
}

static void flush(struct port *port)
{
	struct vhost_port *vp = from_port(port);

	if (vp->rx != NULL)
		vhost_queue_flush(vp->rx);
}

static void take_frame(struct vhost_port *vp,
		       const struct virtq_element *element)
{
	const char *reason;

	if (!vhost_queue_is_enabled(vp->tx)) {
		bridge_drop(&vp->port, DROP_RX_DISABLED);
	} else if (frame_from_guest(&vp->port.bridge->frame, element->out,
				    element->n_out, vp->header_len,
				    vp->features, &reason) < 0) {
		log_debug("%s: frame dropped: %s", vp->label, reason);
		bridge_drop(&vp->port, DROP_RX_MALFORMED);
	} else {
		bridge_forward(&vp->port);
	}
}

static bool run(struct port *port)
{
	struct vhost_port *vp = from_port(port);
	bool has_more = true;

	if (vp->tx == NULL)
		return false;
	(void)vhost_queue_enable_kicks(vp->tx, false);
	for (int i = 0; i < BRIDGE_BUDGET && has_more; i++) {
		struct virtq_element *element;

		if (vhost_queue_pop(vp->tx, &element) == 0) {
			take_frame(vp, element);
			vhost_queue_push(vp->tx, element, 0);
		} else {
			has_more = vhost_queue_enable_kicks(vp->tx, true);
		}
	}
	vhost_queue_flush(vp->tx);
	return has_more;
}

static const struct port_ops port_ops = {
	.kind = "vhost",
	.is_up = is_up,
	.features = features,
	.deliver = deliver,
	.flush = flush,
	.run = run,
};

static void set_features(void *context, uint64_t features)
{
	struct vhost_port *vp = context;

	vp->features = features;
	vp->header_len = VIRTIO_NET_HDR_LEGACY_SIZE;
	if (has_feature(vp, VIRTIO_F_VERSION_1_BIT) ||
	    has_feature(vp, VIRTIO_NET_F_MRG_RXBUF))
		vp->header_len = VIRTIO_NET_HDR_SIZE;
}

static void queue_started(void *context, struct vhost_queue *queue)
{
	struct vhost_port *vp = context;

	if (vhost_queue_index(queue) == QUEUE_RX) {
		vp->rx = queue;
		(void)vhost_queue_enable_kicks(queue, false);
	} else {
		vp->tx = queue;
	}
}

static void queue_kicked(void *context, struct vhost_queue *queue)
{
	struct vhost_port *vp = context;

	if (vhost_queue_index(queue) == QUEUE_TX) {
		vp->tx = queue;
		bridge_run(&vp->port);
	}
}

static bool queue_stop(void *context, struct vhost_queue *queue)
{
	struct vhost_port *vp = context;

	if (vp->rx == queue)
		vp->rx = NULL;
	if (vp->tx == queue)
		vp->tx = NULL;
	return true;
}

/*
 * The guest has moved here: tell the network in its name, as the front end
 * asks on its behalf, with a reverse ARP request (RFC 903).
 */
static void send_rarp(void *context, const uint8_t mac[6])
{
	struct vhost_port *vp = context;
	static const uint8_t arp[] = {
		0x80, 0x35,		/* RARP */
		0x00, 0x01, 0x08, 0x00, /* Ethernet, IPv4 */
		0x06, 0x04, 0x00, 0x03, /* lengths; request reverse */
	};
	uint8_t bytes[60] = { 0 };

	memset(bytes, 0xff, MAC_LEN);
	memcpy(bytes + 6, mac, MAC_LEN);
	memcpy(bytes + 12, arp, sizeof(arp));
	memcpy(bytes + 22, mac, MAC_LEN);
	memcpy(bytes + 32, mac, MAC_LEN);
	if (frame_from_bytes(&vp->port.bridge->frame, bytes, sizeof(bytes)) ==
	    0)
		bridge_forward(&vp->port);
	bridge_run(&vp->port); /* flushes, too */
}

static void disconnected(void *context, const char *reason)
{
	struct vhost_port *vp = context;

	if (reason != NULL)
		log_warn("%s: connection closed: %s", vp->label, reason);
	else
		log_debug("%s: connection closed", vp->label);
	vp->closed(vp->context, vp);
	vhost_port_free(vp);
}

static const struct vhost_device_ops device_ops = {
	.name = "net",
	.device_id = 1,
	.features = UINT64_C(1) << VIRTIO_NET_F_CSUM |
		    UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM |
		    UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4 |
		    UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6 |
		    UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4 |
		    UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6 |
		    UINT64_C(1) << VIRTIO_NET_F_MRG_RXBUF,
	.set_features = set_features,
	.queue_started = queue_started,
	.queue_kicked = queue_kicked,
	.queue_stop = queue_stop,
	.send_rarp = send_rarp,
	.disconnected = disconnected,
};

/* Who connected: with --connect and chain loading that is who listened, or
 * this process itself. */
static void name_after_peer(struct vhost_port *vp, int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		snprintf(vp->name, sizeof(vp->name), "pid:%d", (int)peer.pid);
	else
		snprintf(vp->name, sizeof(vp->name), "-");
}

int vhost_port_new(struct vhost_port **port, struct bridge *bridge, int fd,
		   bool must_greet,
		   void (*closed)(void *context, struct vhost_port *port),
		   void *context)
{
	struct vhost_port *vp = calloc(1, sizeof(*vp));
	int ret = vp == NULL ? -ENOMEM : 0;

	if (ret == 0)
		ret = bridge_add(bridge, &vp->port, &port_ops, vp->name);
	if (ret < 0) {
		close(fd);
		free(vp);
		return ret;
	}
	snprintf(vp->label, sizeof(vp->label), "port %u", vp->port.id);
	name_after_peer(vp, fd);
	vp->closed = closed;
	vp->context = context;
	vp->header_len = VIRTIO_NET_HDR_LEGACY_SIZE;
	ret = vhost_backend_new(&vp->backend, bridge->loop, fd, &device_ops,
				N_QUEUES, vp->label, vp);
	if (ret < 0) {
		vhost_port_free(vp);
		return ret;
	}
	if (must_greet)
		(void)vhost_backend_expect_greeting(vp->backend);
	*port = vp;
	return 0;
}

void vhost_port_free(struct vhost_port *port)
{
	if (port == NULL)
		return;
	bridge_remove(&port->port);
	vhost_backend_free(port->backend);
	free(port);
}
