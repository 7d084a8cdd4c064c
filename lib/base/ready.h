/* SPDX-License-Identifier: ISC */
/* Readiness: tell the starter that this program serves. */
#ifndef LIB_BASE_READY_H
#define LIB_BASE_READY_H

/*
 * Write a newline to ready_fd and close it (s6 notification; -1: none), and
 * send READY=1 to NOTIFY_SOCKET if that is set (sd_notify(3)). A starter
 * that is gone is no error.
 */
void ready_notify(int ready_fd);

#endif
