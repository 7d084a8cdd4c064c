/* SPDX-License-Identifier: ISC */
/* A port that is a plug of libvdeplug: an uplink to another network. */
#ifndef VM_NET_PORT_VDE_H
#define VM_NET_PORT_VDE_H

struct bridge;
struct error;
struct vde_port;

/* Plug in url, which is kept by reference. */
int vde_port_new(struct vde_port **port, struct bridge *bridge, char *url,
		 struct error *err);
/* NULL is fine. */
void vde_port_free(struct vde_port *port);

#endif
