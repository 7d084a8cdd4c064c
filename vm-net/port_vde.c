/* SPDX-License-Identifier: ISC */
/*
 * An uplink by libvdeplug: slirp://, tap://, vde://, vxvde:// and whatever
 * plugins there are. Nothing here waits for the other side: a frame that it
 * does not take at once is lost. When it is gone it is plugged in again, with
 * back-off.
 */
#include "vm-net/port_vde.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "vm-net/bridge.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <libvdeplug.h>
#include <string.h>
#include <sys/socket.h>

enum {
	RETRY_FIRST_MS = 200,
	RETRY_LAST_MS = 5000,
};

struct vde_port {
	struct port port;
	VDECONN *plug; /* NULL: gone */
	char *url;
	struct event_source data, control;
	struct event_timer retry;
	unsigned retry_ms;
	uint8_t buffer[VDE_ETHBUFSIZE];
};

#ifdef __SANITIZE_ADDRESS__
/*
 * libvdeplug loads its plugins with RTLD_DEEPBIND, at which AddressSanitizer
 * ends the process (google/sanitizers issue 611): without that flag they are
 * checked, too.
 */
void *dlopen(const char *file, int mode)
{
	void *(*next)(const char *, int);
	void *symbol = dlsym(RTLD_NEXT, "dlopen");

	memcpy(&next, &symbol, sizeof(next));
	return next(file, mode & ~RTLD_DEEPBIND);
}
#endif

static struct vde_port *from_port(const struct port *port)
{
	return container_of(port, struct vde_port, port);
}

static void unplug(struct vde_port *vp)
{
	event_source_remove(&vp->data);
	event_source_remove(&vp->control);
	if (vp->plug != NULL)
		vde_close(steal_ptr(&vp->plug));
}

static void lose(struct vde_port *vp)
{
	log_warn("%s: connection lost; trying again", vp->url);
	unplug(vp);
	vp->retry_ms = RETRY_FIRST_MS;
	(void)event_timer_set(&vp->retry, vp->retry_ms, 0);
}

static bool is_up(const struct port *port)
{
	return from_port(port)->plug != NULL;
}

/* The wire takes finished frames. */
static uint64_t features(const struct port *port)
{
	(void)port;
	return 0;
}

static enum drop deliver(struct port *port, struct frame *frame)
{
	struct vde_port *vp = from_port(port);
	const uint8_t *bytes;

	if (vp->plug == NULL)
		return DROP_TX_DOWN;
	if (frame->len > sizeof(vp->buffer))
		return DROP_TX_TOO_LONG;
	bytes = frame_flatten(frame);
	/* What became of the plug is found out when it is read. */
	if (vde_send(vp->plug, bytes, frame->len, MSG_DONTWAIT) < 0)
		return DROP_TX_NO_BUFFER;
	return DROP_NONE;
}

static bool run(struct port *port)
{
	struct vde_port *vp = from_port(port);

	for (int i = 0; i < BRIDGE_BUDGET && vp->plug != NULL; i++) {
		ssize_t n = vde_recv(vp->plug, vp->buffer, sizeof(vp->buffer),
				     MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return false;
		if (n <= 0) {
			lose(vp);
			return false;
		}
		/* Plugins answer 1 for what was none of ours. */
		if (n == 1)
			continue;
		if (frame_from_bytes(&port->bridge->frame, vp->buffer,
				     (size_t)n) < 0)
			bridge_drop(port, DROP_RX_MALFORMED);
		else
			bridge_forward(port);
	}
	/* Level-triggered: what is left is reported again. */
	return false;
}

static const struct port_ops port_ops = {
	.kind = "plug",
	.is_up = is_up,
	.features = features,
	.deliver = deliver,
	.run = run,
};

static void receive(struct event_source *source, uint32_t events)
{
	(void)events;
	bridge_run(&container_of(source, struct vde_port, data)->port);
}

/* Silent, but for its end. */
static void control_ended(struct event_source *source, uint32_t events)
{
	struct vde_port *vp = container_of(source, struct vde_port, control);
	char byte;

	(void)events;
	if (recv(source->fd, &byte, 1, MSG_DONTWAIT) == 0 ||
	    (errno != EAGAIN && errno != EINTR))
		lose(vp);
}

static int plug_in(struct vde_port *vp)
{
	static char description[] = "vm-net";
	int fd, control, ret;

	errno = 0;
	vp->plug = vde_open(vp->url, description, NULL);
	if (vp->plug == NULL)
		return errno != 0 ? -errno : -EIO;
	fd = vde_datafd(vp->plug);
	control = vde_ctlfd(vp->plug);
	/* Not all plugins look at MSG_DONTWAIT. */
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		ret = -errno;
	else
		ret = event_source_add(vp->port.bridge->loop, &vp->data, fd,
				       EPOLLIN, receive);
	if (ret == 0 && control >= 0 && control != fd)
		ret = event_source_add(vp->port.bridge->loop, &vp->control,
				       control, EPOLLIN, control_ended);
	if (ret < 0)
		unplug(vp);
	return ret;
}

static void try_again(struct event_timer *timer)
{
	struct vde_port *vp = container_of(timer, struct vde_port, retry);

	if (plug_in(vp) == 0) {
		log_info("%s: connected again", vp->url);
		return;
	}
	vp->retry_ms *= 2;
	if (vp->retry_ms > RETRY_LAST_MS)
		vp->retry_ms = RETRY_LAST_MS;
	(void)event_timer_set(timer, vp->retry_ms, 0);
}

int vde_port_new(struct vde_port **port, struct bridge *bridge, char *url,
		 struct error *err)
{
	struct vde_port *vp = calloc(1, sizeof(*vp));
	int ret;

	if (vp == NULL)
		return error_set_errno(err, -ENOMEM, "%s", url);
	vp->url = url;
	vp->data = (struct event_source)EVENT_SOURCE_INIT;
	vp->control = (struct event_source)EVENT_SOURCE_INIT;
	vp->retry = (struct event_timer)EVENT_TIMER_INIT;
	ret = bridge_add(bridge, &vp->port, &port_ops, url);
	if (ret == 0)
		ret = event_timer_init(bridge->loop, &vp->retry, try_again);
	if (ret == 0)
		ret = plug_in(vp);
	if (ret < 0) {
		vde_port_free(vp);
		return error_set_errno(err, ret, "--plug=%s", url);
	}
	*port = vp;
	return 0;
}

void vde_port_free(struct vde_port *port)
{
	if (port == NULL)
		return;
	unplug(port);
	event_timer_deinit(&port->retry);
	bridge_remove(&port->port);
	free(port);
}
