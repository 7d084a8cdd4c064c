/* SPDX-License-Identifier: ISC */
/*
 * The virtual processors: one thread each, which runs the guest until it
 * touches a bus and then is that access. All functions here but the threads
 * themselves belong to the main thread, with the machine's lock held.
 *
 *	vcpus_init -> vcpus_start -> [vcpus_pause <-> vcpus_resume] ->
 *	vcpus_stop -> vcpus_deinit
 */
#ifndef VM_CPU_VCPU_H
#define VM_CPU_VCPU_H

#include "vm-cpu/exit_status.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct boot;
struct error;
struct kvm_run;
struct vcpus;
struct vm;

enum {
	VCPUS_MAX = 64,
};

struct vcpu {
	struct vcpus *all;
	unsigned index;
	int fd;
	struct kvm_run *run; /* mapping of fd */
	pthread_t thread;
	bool is_running; /* the thread exists */
};

struct vcpus {
	struct vm *vm;
	unsigned n;
	struct vcpu *list;
	/* Wishes of the main thread, read by the others without the lock. */
	atomic_bool is_park_wanted, is_stop_wanted;
	bool is_paused;
	unsigned n_parked;     /* under the lock, as all that follows */
	pthread_cond_t parked; /* n_parked grew */
	pthread_cond_t go_on;  /* a wish changed */
	/*
	 * KVM cannot go on with one of them; text says why. Called in its
	 * thread with the lock held; it is parked afterwards.
	 */
	void (*crashed)(void *context, const char *text);
	void *context;
};

/* Make n processors: CPUID, MSRs; the first enters the guest as boot says. */
int vcpus_init(struct vcpus *vcpus, struct vm *vm, unsigned n,
	       const struct boot *boot, struct error *err);
int vcpus_start(struct vcpus *vcpus, struct error *err);

/*
 * Stop running the guest, and return when no processor does; the lock is
 * released meanwhile, so that accesses under way can end.
 */
void vcpus_pause(struct vcpus *vcpus);
/* The guest is told that its clock went on. */
void vcpus_resume(struct vcpus *vcpus);
/* As vcpus_pause(), from a vCPU's own thread too: does not wait. */
void vcpus_halt(struct vcpus *vcpus);

/* End the threads; the lock must not be held. */
void vcpus_stop(struct vcpus *vcpus);
void vcpus_deinit(struct vcpus *vcpus);

#endif
