/* SPDX-License-Identifier: ISC */
/* VM files: each directive, each refusal with its line, and the plan. */
#include "vm-run/vmfile.h"

#include "lib/base/error.h"
#include "vm-run/plan.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct vmfile vm;
static struct error err;

static int parse(const char *file, const char *text)
{
	vmfile_deinit(&vm);
	err.text[0] = '\0';
	return vmfile_parse(&vm, file, text, strlen(text), &err);
}

static int forget(void **state)
{
	(void)state;
	vmfile_deinit(&vm);
	return 0;
}

static void test_every_directive(void **state)
{
	(void)state;
	assert_int_equal(parse("web.vm",
			       "# a comment\n"
			       "\tname  box_1.a-b\n"
			       "\n"
			       "memory 1.5G\n"
			       "hugepages\n"
			       "cpus 2 # two\n"
			       "kernel /boot/vmlinuz\n"
			       "initrd \"my initrd\"\r\n"
			       "append console=ttyS0 \"x=\\\"a b\\\"\"\n"
			       "append root=LABEL=a#b\n"
			       "serial console attach=s log=l\n"
			       "control c\n"
			       "on-reboot restart\n"
			       "on-crash restart\n"
			       "shutdown-timeout 90"),
			 0);
	assert_string_equal(vm.name, "box_1.a-b");
	assert_string_equal(vm.memory, "1.5G");
	assert_string_equal(vm.cpus, "2");
	assert_string_equal(vm.kernel, "/boot/vmlinuz");
	assert_string_equal(vm.initrd, "my initrd");
	assert_string_equal(vm.append,
			    "console=ttyS0 x=\"a b\" root=LABEL=a#b");
	assert_true(vm.with_hugepages);
	assert_int_equal(vm.serial, VMFILE_SERIAL_CONSOLE);
	assert_string_equal(vm.serial_console.attach, "s");
	assert_string_equal(vm.serial_console.log, "l");
	assert_string_equal(vm.control, "c");
	assert_true(vm.is_restarted_on_reboot);
	assert_true(vm.is_restarted_on_crash);
	assert_int_equal(vm.shutdown_timeout_s, 90);
}

static void test_devices_keep_their_order(void **state)
{
	(void)state;
	assert_int_equal(
		parse("web.vm",
		      "kernel k\n"
		      "net\n"
		      "disk a.qcow2\n"
		      "net slirp:///a=b tap://x mac=52:54:00:aB:cd:eF listen=l\n"
		      "disk read-only b.raw format=raw cache=none queues=4 "
		      "serial=S\n"
		      "disk ./a=b\n"
		      "console\n"
		      "console attach=a log=l\n"
		      "disk socket=d.sock\n"
		      "device 26 socket=f.sock\n"),
		0);
	assert_int_equal(vm.n_devices, 9);
	assert_int_equal(vm.devices[0].kind, VMFILE_NET);
	assert_int_equal(vm.devices[0].n_plugs, 0);
	assert_string_equal(vm.devices[1].image, "a.qcow2");
	assert_false(vm.devices[1].is_read_only);
	assert_int_equal(vm.devices[2].n_plugs, 2);
	assert_string_equal(vm.devices[2].plugs[0], "slirp:///a=b");
	assert_string_equal(vm.devices[2].plugs[1], "tap://x");
	assert_string_equal(vm.devices[2].mac, "52:54:00:aB:cd:eF");
	assert_string_equal(vm.devices[2].listen, "l");
	assert_true(vm.devices[3].is_read_only);
	assert_string_equal(vm.devices[3].format, "raw");
	assert_string_equal(vm.devices[3].cache, "none");
	assert_string_equal(vm.devices[3].queues, "4");
	assert_string_equal(vm.devices[3].serial, "S");
	assert_string_equal(vm.devices[4].image, "./a=b");
	assert_int_equal(vm.devices[5].kind, VMFILE_CONSOLE);
	assert_string_equal(vm.devices[6].attach, "a");
	assert_string_equal(vm.devices[7].socket, "d.sock");
	assert_string_equal(vm.devices[8].id, "26");
}

static void test_name_and_paths_follow_the_file(void **state)
{
	(void)state;
	assert_int_equal(parse("vms/web.vm", "kernel k\ninitrd /i\n"
					     "disk -d\nnet listen=l\n"
					     "console log=l\n"),
			 0);
	assert_string_equal(vm.name, "web");
	assert_string_equal(vm.kernel, "vms/k");
	assert_string_equal(vm.initrd, "/i");
	assert_string_equal(vm.devices[0].image, "vms/-d");
	assert_string_equal(vm.devices[1].listen, "vms/l");
	assert_string_equal(vm.devices[2].log, "vms/l");

	/* Nothing that came from a file is an option of a program. */
	assert_int_equal(parse("web", "kernel -k\ndisk -d\n"), 0);
	assert_string_equal(vm.kernel, "./-k");
	assert_string_equal(vm.devices[0].image, "./-d");
	assert_int_equal(parse("-x/.vm", "kernel k\n"), 0);
	assert_string_equal(vm.kernel, "./-x/k");
	assert_string_equal(vm.name, ".vm");
}

static void test_refusals_name_file_and_line(void **state)
{
	static const struct {
		const char *text, *message;
	} cases[] = {
		{ "", "a.vm: no directive 'kernel'" },
		{ "kernel k\nmemry 1\n", "a.vm:2: unknown directive 'memry'" },
		{ "kernel", "a.vm:1: 'kernel' needs a word" },
		{ "kernel \"\"", "a.vm:1: 'kernel' is empty" },
		{ "kernel a b", "a.vm:1: unknown word 'b' after 'kernel'" },
		{ "kernel a\nkernel b", "a.vm:2: 'kernel' given twice" },
		{ "memory much", "a.vm:1: 'much': not a size, as 512M is" },
		{ "memory 0", "a.vm:1: '0': not a size, as 512M is" },
		{ "cpus 65", "a.vm:1: '65': not a number from 1 to 64" },
		{ "cpus -1", "a.vm:1: '-1': not a number from 1 to 64" },
		{ "hugepages yes",
		  "a.vm:1: unknown word 'yes' after 'hugepages'" },
		{ "name a/b",
		  "a.vm:1: 'a/b': a name is letters, digits, '.', '_' and '-'" },
		{ "append \"a", "a.vm:1: quote without end" },
		{ "append a\001b", "a.vm:1: control character" },
		{ "\n\ndisk", "a.vm:3: 'disk' needs words" },
		{ "disk read-only",
		  "a.vm:1: 'disk' needs an image or socket=" },
		{ "disk a b", "a.vm:1: 'image' given twice" },
		{ "disk a size=1", "a.vm:1: unknown option 'size' of 'disk'" },
		{ "disk a format=", "a.vm:1: 'format' is empty" },
		{ "disk a mac=1", "a.vm:1: unknown option 'mac' of 'disk'" },
		{ "disk a queues=0", "a.vm:1: bad value in 'queues=0'" },
		{ "disk a socket=b",
		  "a.vm:1: socket= is of another server, and excludes all "
		  "that we would start one for" },
		{ "net slirp", "a.vm:1: 'slirp': no URL, as slirp:// is" },
		{ "net mac=52:54:00:12:34",
		  "a.vm:1: bad value in 'mac=52:54:00:12:34'" },
		{ "net mac=52-54-00-12-34-56",
		  "a.vm:1: bad value in 'mac=52-54-00-12-34-56'" },
		{ "net a:// b:// c:// d:// e:// f:// g:// h:// i://",
		  "a.vm:1: more than 8 URLs" },
		{ "console x", "a.vm:1: unknown word 'x' after 'console'" },
		{ "device socket=x",
		  "a.vm:1: 'device' needs an id and socket=" },
		{ "device 64 socket=x",
		  "a.vm:1: '64': not a virtio device id" },
		{ "serial tty", "a.vm:1: 'tty': not stdio, none or console" },
		{ "serial none log=x",
		  "a.vm:1: unknown word 'log=x' after 'serial none'" },
		{ "serial none\nserial none", "a.vm:2: 'serial' given twice" },
		{ "on-reboot maybe",
		  "a.vm:1: 'maybe': neither restart nor exit" },
		{ "shutdown-timeout 0",
		  "a.vm:1: '0': not a number of seconds" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse("a.vm", cases[i].text), -EINVAL);
		assert_string_equal(err.text, cases[i].message);
	}
}

static void test_limits(void **state)
{
	static char text[8192];
	size_t len;

	(void)state;
	memset(text, 'a', sizeof(text));
	memcpy(text, "append ", 7);
	text[4097] = '\0';
	assert_int_equal(parse("a.vm", text), -EINVAL);
	assert_string_equal(err.text, "a.vm:1: longer than 4096 bytes");
	text[4096] = '\0';
	assert_int_equal(parse("a.vm", text), -EINVAL);
	assert_string_equal(err.text, "a.vm: no directive 'kernel'");
	/* A comment does not count. */
	text[0] = '#';
	text[4096] = 'a';
	text[8191] = '\0';
	assert_int_equal(parse("a.vm", text), -EINVAL);
	assert_string_equal(err.text, "a.vm: no directive 'kernel'");

	for (len = 0; len < 32 * strlen("console\n"); len += 8)
		memcpy(text + len, "console\n", 8);
	text[len] = '\0';
	assert_int_equal(parse("a.vm", text), -EINVAL);
	assert_string_equal(err.text, "a.vm:32: more than 31 devices");

	vmfile_deinit(&vm);
	assert_int_equal(vmfile_parse(&vm, "a.vm", "kernel \0k", 9, &err),
			 -EINVAL);
	assert_string_equal(err.text, "a.vm:1: control character");
}

/* The whole of what is printed is run by tests/vm-run.sh. */
static void test_plan_hands_on_every_option(void **state)
{
	struct plan *plan = NULL;
	const struct plan_process *server;
	char *text;

	(void)state;
	assert_int_equal(parse("a.vm",
			       "kernel k\nserial console\n"
			       "disk a read-only format=raw\n"
			       "net slirp:// listen=sw\n"
			       "console attach=at\n"
			       "net socket=a,b mac=52:54:00:12:34:56\n"),
			 0);
	assert_int_equal(plan_new(&plan, &vm, "--quiet", &err), 0);
	assert_int_equal(plan->n_servers, 4);
	server = &plan->servers[0];
	assert_string_equal(server->name, "serial");
	assert_string_equal(server->listeners[0].name, "serial");
	server = &plan->servers[1];
	assert_string_equal(server->name, "disk0");
	assert_string_equal(server->program, "vm-disk");
	assert_int_equal(server->n_arguments, 4);
	text = plan_word_text(&server->arguments[2], "/run");
	assert_string_equal(text, "--format=raw");
	free(text);
	text = plan_word_text(&server->listeners[0].path, "/run");
	assert_string_equal(text, "/run/disk0.sock");
	free(text);
	server = &plan->servers[2];
	text = plan_word_text(&server->listeners[0].path, "/run");
	assert_string_equal(text, "sw");
	free(text);
	text = plan_word_text(&plan->cpu.arguments[2], "/run");
	assert_string_equal(text, "--serial=/run/serial.sock");
	free(text);
	text = plan_word_text(&plan->cpu.arguments[3], "/run");
	assert_string_equal(text, "--blk=/run/disk0.sock");
	free(text);
	/* A comma in a path is none between vm-cpu's suboptions. */
	text = plan_word_text(&plan->cpu.arguments[6], "/run");
	assert_string_equal(text, "--net=a,,b,mac=52:54:00:12:34:56");
	free(text);
	plan_free(plan);
	plan_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_every_directive, forget),
		cmocka_unit_test_teardown(test_devices_keep_their_order,
					  forget),
		cmocka_unit_test_teardown(test_name_and_paths_follow_the_file,
					  forget),
		cmocka_unit_test_teardown(test_refusals_name_file_and_line,
					  forget),
		cmocka_unit_test_teardown(test_limits, forget),
		cmocka_unit_test_teardown(test_plan_hands_on_every_option,
					  forget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
