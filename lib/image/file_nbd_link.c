/* SPDX-License-Identifier: ISC */
/*
 * Requests in flight on one connection. A call's parts are a flight, which
 * stands on the caller's stack until the last of them is over:
 *
 *	send, send, …	as far as the socket takes it; libnbd keeps the rest
 *	await		is somebody driving? then sleep until the flight has
 *			moved. Else drive: poll without the lock, have libnbd
 *			read or write, which ends parts of any flight, until
 *			one's own is over; then wake the next that waits.
 *
 * The driver polls for what libnbd wanted when it looked. Who sends more than
 * the socket takes at once tells it so through wake_fd.
 *
 * What is read goes from the socket to the caller's memory, which libnbd does
 * not clear before: it takes a fifth of the time of reading. Chunks of a reply
 * may come in any order; what a server leaves out is cleared when that shows,
 * as what was there before is nobody's to see.
 */
#include "lib/image/file_nbd.h"

#include "lib/base/cleanup.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	CONNECT_MS = 30000,
	PARTS_MAX =
		16, /* of one flight at a time: as many as nbdkit's threads */
};

struct nbd_part {
	struct nbd_flight *flight; /* NULL: it is over */
	uint8_t *buf;		   /* of a read; else NULL */
	size_t len, n_set;	   /* n_set bytes at least have come */
};

struct nbd_flight {
	struct nbd_part parts[PARTS_MAX];
	unsigned n_pending;
	unsigned n_allowed; /* its thread goes on when no more are pending */
	int result;
	pthread_cond_t moved;
	struct nbd_flight *next, *previous;
};

/* libnbd's error of this thread. One without a number is a server's. */
static int last_error(void)
{
	int number = libnbd->nbd_get_errno();

	return number != 0 ? -number : -EIO;
}

static bool is_over(const struct nbd_link *link)
{
	return libnbd->nbd_aio_is_dead(link->nbd) ||
	       libnbd->nbd_aio_is_closed(link->nbd);
}

/* Nothing of what is beyond n_set has come: clear it, as far as end. */
static void clear_gap(struct nbd_part *part, size_t end)
{
	if (end > part->n_set)
		memset(part->buf + part->n_set, 0, end - part->n_set);
}

/* Called by libnbd, with the lock: len bytes have been read to data. */
static int came(void *context, const void *data, size_t len, uint64_t offset,
		unsigned status, int *error)
{
	struct nbd_part *part = context;
	size_t start = (size_t)((const uint8_t *)data - part->buf);

	(void)offset;
	(void)error;
	if (status == LIBNBD_READ_ERROR)
		return 0;
	clear_gap(part, start);
	if (part->n_set < start + len)
		part->n_set = start + len;
	return 0;
}

/* Called by libnbd, with the lock: from notify, or when a part is sent. */
static int ended(void *context, int *error)
{
	struct nbd_part *part = context;
	struct nbd_flight *flight = part->flight;

	if (part->buf != NULL)
		clear_gap(part, part->len);
	part->flight = NULL;
	/* The connection's end has several numbers: as QEMU, say EIO. */
	if (*error != 0 && flight->result == 0)
		flight->result = *error == ENOTCONN ? -EIO : -*error;
	flight->n_pending--;
	if (flight->n_pending <= flight->n_allowed)
		pthread_cond_signal(&flight->moved);
	return 1; /* libnbd forgets it */
}

static struct nbd_part *find_free(struct nbd_flight *flight)
{
	unsigned i = 0;

	while (flight->parts[i].flight != NULL)
		i++;
	return &flight->parts[i];
}

static int send_part(struct nbd_link *link, struct nbd_part *part,
		     const struct nbd_request *r, uint64_t done, uint64_t len)
{
	const nbd_chunk_callback chunk = { .callback = came,
					   .user_data = part };
	const nbd_completion_callback end = { .callback = ended,
					      .user_data = part };
	uint8_t *buf = r->buf != NULL ? r->buf + done : NULL;
	struct nbd_handle *nbd = link->nbd;
	uint64_t offset = r->offset + done;
	int64_t cookie = -1;

	switch (r->operation) {
	case NBD_READ:
		cookie = libnbd->nbd_aio_pread_structured(nbd, buf, len, offset,
							  chunk, end, r->flags);
		break;
	case NBD_WRITE:
		cookie = libnbd->nbd_aio_pwrite(nbd, buf, len, offset, end,
						r->flags);
		break;
	case NBD_ZERO:
		cookie = libnbd->nbd_aio_zero(nbd, len, offset, end, r->flags);
		break;
	case NBD_TRIM:
		cookie = libnbd->nbd_aio_trim(nbd, len, offset, end, r->flags);
		break;
	case NBD_FLUSH:
		cookie = libnbd->nbd_aio_flush(nbd, end, r->flags);
		break;
	case NBD_STATUS:
		cookie = libnbd->nbd_aio_block_status(
			nbd, len, offset, r->extents, end, r->flags);
		break;
	}
	return cookie < 0 ? -1 : 0;
}

static void wake_driver(const struct nbd_link *link)
{
	unsigned wanted = libnbd->nbd_aio_get_direction(link->nbd);
	uint64_t one = 1;

	if (!link->is_driven || !(wanted & ~link->polled))
		return;
	/* Fails only when the counter is full, and then the driver wakes. */
	if (write(link->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* What fails here is not in flight, and has no end. */
static void submit(struct nbd_link *link, struct nbd_flight *flight,
		   const struct nbd_request *request, uint64_t done,
		   uint64_t len)
{
	struct nbd_part *part = find_free(flight);
	int rc;

	if (is_over(link)) {
		flight->result = -EIO;
		return;
	}
	*part = (struct nbd_part){ .flight = flight, .len = len };
	if (request->operation == NBD_READ)
		part->buf = request->buf + done;
	flight->n_pending++;
	rc = send_part(link, part, request, done, len);
	if (rc < 0) {
		part->flight = NULL;
		flight->n_pending--;
		flight->result = is_over(link) ? -EIO : last_error();
		return;
	}
	wake_driver(link);
}

/* Once, without the lock while nothing happens. */
static void poll_socket(struct nbd_link *link)
{
	struct nbd_handle *nbd = link->nbd;
	unsigned direction = libnbd->nbd_aio_get_direction(nbd);
	struct pollfd fds[] = {
		{ .fd = libnbd->nbd_aio_get_fd(nbd) },
		{ .fd = link->wake_fd, .events = POLLIN },
	};
	uint64_t count;
	int n;

	if (direction & LIBNBD_AIO_DIRECTION_READ)
		fds[0].events |= POLLIN;
	if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		fds[0].events |= POLLOUT;
	link->polled = direction;
	pthread_mutex_unlock(&link->lock);
	n = poll(fds, array_size(fds), -1);
	pthread_mutex_lock(&link->lock);
	if (n < 0)
		return; /* a signal */
	if (fds[1].revents != 0 && read(link->wake_fd, &count, 8) < 0)
		return;
	/* Others may have sent meanwhile. One call alone: it may change what
	 * libnbd wants. A socket in error tells whoever asks. */
	direction = libnbd->nbd_aio_get_direction(nbd);
	if (fds[0].revents & ~POLLOUT && direction & LIBNBD_AIO_DIRECTION_READ)
		libnbd->nbd_aio_notify_read(nbd);
	else if (fds[0].revents != 0 && direction & LIBNBD_AIO_DIRECTION_WRITE)
		libnbd->nbd_aio_notify_write(nbd);
}

static void drive(struct nbd_link *link, struct nbd_flight *flight)
{
	link->is_driven = true;
	while (flight->n_pending > flight->n_allowed && !is_over(link))
		poll_socket(link);
	link->is_driven = false;
	/* The end of a connection has ended all that was in flight. */
	if (flight->n_pending > 0 && is_over(link)) {
		flight->n_pending = 0;
		flight->result = -EIO;
	}
}

static void add_waiting(struct nbd_link *link, struct nbd_flight *flight)
{
	flight->next = NULL;
	flight->previous = link->last;
	if (link->last != NULL)
		link->last->next = flight;
	else
		link->first = flight;
	link->last = flight;
}

static void remove_waiting(struct nbd_link *link, struct nbd_flight *flight)
{
	if (flight->previous != NULL)
		flight->previous->next = flight->next;
	else
		link->first = flight->next;
	if (flight->next != NULL)
		flight->next->previous = flight->previous;
	else
		link->last = flight->previous;
}

/* Until no more than n_allowed of the flight's parts are pending. */
static void await(struct nbd_link *link, struct nbd_flight *flight,
		  unsigned n_allowed)
{
	flight->n_allowed = n_allowed;
	if (flight->n_pending <= n_allowed)
		return;
	add_waiting(link, flight);
	while (flight->n_pending > n_allowed) {
		if (link->is_driven)
			pthread_cond_wait(&flight->moved, &link->lock);
		else
			drive(link, flight);
	}
	remove_waiting(link, flight);
	/* Also where it was not the driver: it may have been woken to be. */
	if (!link->is_driven && link->first != NULL)
		pthread_cond_signal(&link->first->moved);
}

int nbd_link_do(struct nbd_link *link, const struct nbd_request *request)
{
	struct nbd_flight flight = { .moved = PTHREAD_COND_INITIALIZER };
	uint64_t done = 0;

	pthread_mutex_lock(&link->lock);
	do {
		uint64_t len = request->len - done;

		if (len > request->part_max)
			len = request->part_max;
		submit(link, &flight, request, done, len);
		done += len;
		await(link, &flight, PARTS_MAX - 1);
	} while (done < request->len && flight.result == 0);
	await(link, &flight, 0);
	pthread_mutex_unlock(&link->lock);
	pthread_cond_destroy(&flight.moved);
	return flight.result;
}

static int64_t now_ms(void)
{
	return (int64_t)(clock_ns() / 1000000);
}

static int wait_ready(struct nbd_link *link)
{
	int64_t end = now_ms() + CONNECT_MS;

	while (!libnbd->nbd_aio_is_ready(link->nbd)) {
		int64_t left = end - now_ms();

		if (is_over(link))
			return last_error();
		if (left <= 0)
			return -ETIMEDOUT;
		if (libnbd->nbd_poll(link->nbd, (int)left) < 0)
			return last_error();
	}
	return 0;
}

/* What a server says of its refusal: libnbd tells only who debugs. */
struct server_words {
	char text[256];
	bool is_heard;
};

static int hear(void *context, const char *function, const char *message)
{
	static const char key[] = "server error message: ";
	const char *at = strstr(message, key);
	struct server_words *words = context;

	(void)function;
	if (at != NULL)
		snprintf(words->text, sizeof(words->text), "%s",
			 at + strlen(key));
	return 0;
}

static int connect_to(struct nbd_link *link, const char *uri,
		      const char *context)
{
	struct nbd_handle *nbd = link->nbd;

	/* The user names the files of keys and certificates, too. */
	if (libnbd->nbd_set_pread_initialize(nbd, false) < 0 ||
	    libnbd->nbd_set_uri_allow_local_file(nbd, true) < 0 ||
	    libnbd->nbd_add_meta_context(nbd, context) < 0 ||
	    libnbd->nbd_aio_connect_uri(nbd, uri) < 0)
		return last_error();
	return wait_ready(link);
}

static int connect_and_hear(struct nbd_link *link, const char *uri,
			    const char *context, struct server_words *words)
{
	const nbd_debug_callback heard = { .callback = hear,
					   .user_data = words };

	/* Who debugs libnbd itself is not to be disturbed. */
	if (libnbd->nbd_get_debug(link->nbd) != 0)
		return connect_to(link, uri, context);
	libnbd->nbd_set_debug_callback(link->nbd, heard);
	libnbd->nbd_set_debug(link->nbd, true);
	words->is_heard = true;
	return connect_to(link, uri, context);
}

/* Before words are gone. */
static void stop_hearing(struct nbd_link *link,
			 const struct server_words *words)
{
	if (!words->is_heard)
		return;
	libnbd->nbd_set_debug(link->nbd, false);
	libnbd->nbd_clear_debug_callback(link->nbd);
}

/* PATH or HOST:PORT of a URI. */
static void find_address(const char *uri, char *address, size_t len)
{
	static const char key[] = "socket=", port[] = ":10809";
	const char *at = strstr(uri, "://"), *socket = strstr(uri, key);
	size_t n;

	if (strncmp(uri, "nbd+unix:", 9) == 0 && socket != NULL) {
		snprintf(address, len, "%.*s",
			 (int)strcspn(socket + strlen(key), "&"),
			 socket + strlen(key));
		return;
	}
	at = at != NULL ? at + 3 : uri;
	at += strchr(at, '@') != NULL ? strcspn(at, "@") + 1 : 0;
	n = strcspn(at, "/?");
	snprintf(address, len, "%.*s%s", (int)n, at,
		 memchr(at, ':', n) != NULL ? "" : port);
}

static bool has(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

/* What QEMU has words of its own for. */
static int tell_as_qemu(int rc, const char *text, const char *uri,
			struct error *err)
{
	const char *reason = strrchr(text, ':');
	char address[PATH_MAX];

	reason = reason != NULL ? reason + strspn(reason, ": ") : text;
	find_address(uri, address, sizeof(address));
	if (has(text, "parse URI") || has(text, "socket parameter"))
		return error_set(err, -EINVAL, "No valid URL specified");
	if (has(text, "getaddrinfo:"))
		return error_set(err, rc,
				 "address resolution failed for %s: %s",
				 address, reason);
	if (has(text, "no export named"))
		return error_set(err, rc, "Requested export not available");
	if (has(text, "connect:"))
		return error_set(err, rc, "Failed to connect to '%s': %s",
				 address, reason);
	return 0;
}

static void disarm(char *text)
{
	for (char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < ' ')
			*c = '?';
}

/* libnbd's words, without the name of its function; some are a server's. */
static int tell(int rc, const char *uri, struct server_words *words,
		struct error *err)
{
	const char *text = libnbd->nbd_get_error();
	const char *colon = text != NULL ? strchr(text, ':') : NULL;
	char line[256];
	int told;

	if (colon == NULL || rc == -ETIMEDOUT)
		return error_set_errno(err, rc, "Failed to connect to '%s'",
				       uri);
	snprintf(line, sizeof(line), "%s", colon + 1 + strspn(colon + 1, " "));
	disarm(line);
	disarm(words->text);
	if (has(line, "no export named") && words->text[0] != '\0')
		return error_set(err, rc,
				 "Requested export not available: "
				 "server reported: %s",
				 words->text);
	told = tell_as_qemu(rc, line, uri, err);
	if (told < 0)
		return told;
	return error_set(err, rc, "Failed to connect to '%s': %s", uri, line);
}

int nbd_link_open(struct nbd_link *link, const char *uri, const char *context,
		  struct error *err)
{
	struct server_words words = { .text = "" };
	int rc;

	*link = (struct nbd_link){ .wake_fd = -1 };
	pthread_mutex_init(&link->lock, NULL);
	link->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (link->wake_fd < 0)
		return -errno;
	link->nbd = libnbd->nbd_create();
	if (context == NULL)
		return -ENOMEM;
	rc = link->nbd != NULL ? connect_and_hear(link, uri, context, &words)
			       : last_error();
	if (rc < 0)
		rc = tell(rc, uri, &words, err);
	stop_hearing(link, &words);
	return rc;
}

void nbd_link_close(struct nbd_link *link)
{
	if (link->nbd != NULL)
		libnbd->nbd_close(link->nbd);
	link->nbd = NULL;
	close_fd(&link->wake_fd);
	pthread_mutex_destroy(&link->lock);
}
