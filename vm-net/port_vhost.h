/* SPDX-License-Identifier: ISC */
/* A port that is a vhost-user connection: one guest's network card. */
#ifndef VM_NET_PORT_VHOST_H
#define VM_NET_PORT_VHOST_H

#include <stdbool.h>

struct bridge;
struct vhost_port;

/*
 * A port on the connection fd (taken over, also on failure), of which the
 * peer must greet in time if said (vhost_backend_expect_greeting()). It lives
 * until the connection is over: then closed(context) is called and it is freed.
 */
int vhost_port_new(struct vhost_port **port, struct bridge *bridge, int fd,
		   bool must_greet,
		   void (*closed)(void *context, struct vhost_port *port),
		   void *context);
/* Without calling closed(). NULL is fine. */
void vhost_port_free(struct vhost_port *port);

#endif
