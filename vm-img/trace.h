/* SPDX-License-Identifier: ISC */
/* -T: which of the engine's events are told, and where. */
#ifndef VM_IMG_TRACE_H
#define VM_IMG_TRACE_H

/* "[[enable=]PATTERN][,events=FILE][,file=FILE]". What is wrong ends the
 * program, and so does "help", which lists the events. */
void trace_take(const char *text);
/* All options have been taken: open the file, if there is one. */
void trace_begin(void);

#endif
