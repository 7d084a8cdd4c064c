/* SPDX-License-Identifier: ISC */
/*
 * The learning bridge: ports, and which frame goes where. It knows nothing
 * of what a port is made of; those are port_vhost.c and port_vde.c.
 *
 * A frame lives for one call: each port that it goes to has copied it, or
 * dropped it, when bridge_forward() returns. Nothing is queued here, so a
 * port that is slow loses its own frames and holds up nobody.
 */
#ifndef VM_NET_BRIDGE_H
#define VM_NET_BRIDGE_H

#include "lib/base/event.h"
#include "vm-net/frame.h"
#include "vm-net/mac_table.h"

#include <stdbool.h>
#include <stdint.h>

struct bridge;
struct port;

enum {
	BRIDGE_PORTS_MAX = MAC_TABLE_PORTS,
	/* Frames that a port brings in before others have their turn. */
	BRIDGE_BUDGET = 64,
};

/* Why a frame was lost, counted at the port that it came from (RX) or that
 * it should have gone to (TX). */
enum drop {
	DROP_NONE,
	DROP_RX_MALFORMED,  /* bad virtio-net header, shorter than Ethernet */
	DROP_RX_BAD_SOURCE, /* multicast or no source address */
	DROP_RX_RESERVED,   /* to a link-local address: not for bridges to
			       pass on (802.1D-2004 §7.12.6) */
	DROP_RX_LOCAL,	    /* to a station behind the same port */
	DROP_RX_DISABLED,   /* from a disabled queue */
	DROP_TX_DOWN,	    /* the port is not connected or not set up */
	DROP_TX_NO_BUFFER,  /* the port does not keep up */
	DROP_TX_TOO_LONG,   /* longer than the port's buffers */
	DROP_N,
};

struct port_counters {
	uint64_t rx_frames, rx_bytes; /* that came in */
	uint64_t tx_frames, tx_bytes; /* that went out */
	uint64_t dropped[DROP_N];
};

struct port_ops {
	const char *kind;
	bool (*is_up)(const struct port *port);
	/* Features of virtio-net that decide which frames it takes. */
	uint64_t (*features)(const struct port *port);
	/* Copy the frame out, or say why not. */
	enum drop (*deliver)(struct port *port, struct frame *frame);
	/* What was delivered is to be seen now. May be NULL. */
	void (*flush)(struct port *port);
	/*
	 * Bring in at most BRIDGE_BUDGET frames. True: there may be more, to
	 * be called again after the others.
	 */
	bool (*run)(struct port *port);
};

/* Embedded in its owner. */
struct port {
	struct bridge *bridge; /* NULL: not added */
	const struct port_ops *ops;
	const char *name; /* the owner's */
	unsigned id;	  /* from 1 on; the lowest that is free */
	struct port_counters counters;
	bool is_running, is_dirty; /* in these lists: */
	struct port *next_running, *next_dirty;
};

struct bridge {
	struct event_loop *loop;
	struct port *ports[BRIDGE_PORTS_MAX]; /* by id; none is 0 */
	unsigned n_ports, max_id;
	struct port *running, **running_end; /* have more to bring in */
	unsigned n_running;
	struct port *dirty;	   /* have something to flush */
	struct event_source again; /* readable for ever */
	int again_fd;
	struct mac_table table;
	struct frame frame;   /* the one that is on its way */
	struct frame segment; /* and a part of it */
};

#define BRIDGE_INIT \
	{ \
		.again = EVENT_SOURCE_INIT, .again_fd = -1 \
	}

/* A bridge is large: on the heap, or static. */
int bridge_init(struct bridge *bridge, struct event_loop *loop,
		uint64_t ageing_ms);
/* All ports are removed before. */
void bridge_deinit(struct bridge *bridge);

/* -ENOSPC: no more than BRIDGE_PORTS_MAX - 1. */
int bridge_add(struct bridge *bridge, struct port *port,
	       const struct port_ops *ops, const char *name);
/* Idempotent. */
void bridge_remove(struct port *port);

/* The frame in bridge->frame came in at port. */
void bridge_forward(struct port *port);
/* A frame that came in, but is no frame. */
void bridge_drop(struct port *port, enum drop reason);
/* Something is there: run the port now, and again while it has more. */
void bridge_run(struct port *port);

uint64_t bridge_now_ms(void);
const char *drop_name(enum drop reason);

#endif
