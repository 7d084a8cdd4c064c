/* SPDX-License-Identifier: ISC */
/*
 * The plan as a POSIX shell script. Servers open their sockets themselves
 * here, and say on a named pipe that they have, before the next is started.
 */
#include "vm-run/plan.h"

#include <string.h>

/* Quotes around what needs them; those of an option around its value. */
static void print_quoted(const char *text, FILE *out)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyz"
				   "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789%+,-./:=@_";

	if (text[strspn(text, safe)] == '\0') {
		fputs(text, out);
		return;
	}
	if (strncmp(text, "--", 2) == 0 && strchr(text, '=') != NULL)
		do
			putc(*text, out);
		while (*text++ != '=');
	putc('\'', out);
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			fputs("'\\''", out);
		else
			putc(*text, out);
	}
	putc('\'', out);
}

static void print_word(const struct plan_word *word, FILE *out)
{
	if (word->before != NULL)
		print_quoted(word->before, out);
	if (word->run_file != NULL)
		fprintf(out, "\"$dir/%s\"", word->run_file);
	if (word->after != NULL)
		print_quoted(word->after, out);
}

/* ready: an option and what it needs, or "". */
static void print_command(const struct plan_process *process, const char *ready,
			  FILE *out)
{
	fprintf(out, "%s%s", process->program, ready);
	for (unsigned i = 0; i < process->n_listeners; i++) {
		fprintf(out, " --%s=", process->listeners[i].option);
		print_word(&process->listeners[i].path, out);
	}
	for (unsigned i = 0; i < process->n_arguments; i++) {
		putc(' ', out);
		print_word(&process->arguments[i], out);
	}
}

/* A pipe of its own: another writer's end of file would be taken for its. */
static void print_server(const struct plan_process *server, FILE *out)
{
	fprintf(out, "mkfifo \"$dir/%s.ready\" || exit\n", server->name);
	print_command(server, " --ready-fd=3", out);
	fprintf(out,
		" 3>\"$dir/%s.ready\" &\n"
		"servers=\"$servers $!\"\n"
		"read -r ready <\"$dir/%s.ready\" || exit\n",
		server->name, server->name);
}

static void print_cpu(const struct plan *plan, FILE *out)
{
	if (!plan->is_restarted_on_reboot) {
		print_command(&plan->cpu, "", out);
		putc('\n', out);
		return;
	}
	fputs("status=32\n"
	      "while [ \"$status\" = 32 ]; do\n"
	      "\tstatus=0\n"
	      "\t",
	      out);
	print_command(&plan->cpu, "", out);
	fputs(" || status=$?\n"
	      "done\n"
	      "exit \"$status\"\n",
	      out);
}

void plan_print(const struct plan *plan, FILE *out)
{
	fputs("#!/bin/sh\n"
	      "dir=$(mktemp -d) || exit\n"
	      "servers=\n"
	      "trap 'kill $servers 2>/dev/null; wait; rm -rf \"$dir\"' EXIT\n"
	      "trap 'exit 130' INT\n"
	      "trap 'exit 143' TERM\n",
	      out);
	for (unsigned i = 0; i < plan->n_servers; i++)
		print_server(&plan->servers[i], out);
	print_cpu(plan, out);
}
