/* SPDX-License-Identifier: ISC */
/*
 * Chain loading: a server that starts the program it serves.
 *
 *	vm-disk root.qcow2 -- vm-net --plug=slirp:// -- vm-cpu ...
 *
 * The process that the user started becomes PROGRAM, in the end; the server
 * is nobody's child, in a session of its own, and ends when PROGRAM closes
 * its side of the socket pair.
 */
#ifndef LIB_BASE_CHAIN_H
#define LIB_BASE_CHAIN_H

struct error;

struct chain {
	int fd;	     /* the server's end of the pair, non-blocking */
	int starter; /* the process that waits for chain_release() */
};

#define CHAIN_INIT \
	{ \
		.fd = -1, .starter = -1 \
	}

/*
 * Fork; returns in the server alone, or -errno in the caller if that fails.
 * The caller's process waits for chain_release() and then becomes
 * program[0], with "name:FD" appended to VM_DEVICES; should the server end
 * before, it ends with status 1. PROGRAM that cannot be executed ends with
 * 126, or 127 if it is not found, and one line.
 *
 * In the server standard input and output are /dev/null, and the
 * descriptors that VM_DEVICES names are closed: they are for PROGRAM.
 */
int chain_fork(struct chain *chain, const char *name, char **program,
	       struct error *err);
/* The server serves: let PROGRAM run. */
void chain_release(struct chain *chain);
/* Idempotent. */
void chain_deinit(struct chain *chain);

#endif
