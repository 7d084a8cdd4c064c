/* SPDX-License-Identifier: ISC */
/*
 * A VM file that says anything: it is refused with a text, or becomes a
 * plan whose every word fits.
 */
#include "vm-run/vmfile.h"

#include "lib/base/error.h"
#include "vm-run/plan.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void check_process(const struct plan_process *process)
{
	if (process->n_arguments > PLAN_ARGUMENTS_MAX ||
	    process->n_listeners > PLAN_LISTENERS_MAX ||
	    strlen(process->name) >= PLAN_NAME_MAX - 1)
		abort();
	for (unsigned i = 0; i < process->n_arguments; i++) {
		char *text = plan_word_text(&process->arguments[i], "/run");

		/* A word from the file is never an option by itself. */
		if (text[0] == '-' && strncmp(text, "--", 2) != 0)
			abort();
		free(text);
	}
}

static void check_plan(const struct vmfile *vm)
{
	struct plan *plan;
	char *script;
	size_t len;
	FILE *out;

	if (plan_new(&plan, vm, NULL, NULL) < 0)
		abort();
	for (unsigned i = 0; i < plan->n_servers; i++)
		check_process(&plan->servers[i]);
	check_process(&plan->cpu);
	out = open_memstream(&script, &len);
	plan_print(plan, out);
	fclose(out);
	free(script);
	plan_free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vmfile vm = VMFILE_INIT;
	struct error err = ERROR_INIT;

	if (vmfile_parse(&vm, "dir/a.vm", (const char *)data, size, &err) == 0)
		check_plan(&vm);
	else if (err.text[0] == '\0')
		abort();
	vmfile_deinit(&vm);
	return 0;
}
