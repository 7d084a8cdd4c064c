/* SPDX-License-Identifier: ISC */
/*
 * The parser. A directive is a row of the table `directives`; those of
 * devices go on in vmfile_device.c. Each line is checked on its own; what
 * only the whole can show is checked at the end.
 */
#include "vm-run/vmfile.h"

#include "lib/base/cleanup.h"
#include "lib/base/control_line.h"
#include "lib/base/error.h"
#include "lib/base/size.h"
#include "vm-run/vmfile_internal.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	CPUS_MAX = 64,
	SHUTDOWN_TIMEOUT_MAX_S = 86400,
	LINE_MAX_LEN = 4096,
};

int vmfile_fail(const struct vmfile_parser *parser, const char *format, ...)
{
	struct error why;
	va_list args;

	va_start(args, format);
	vsnprintf(why.text, sizeof(why.text), format, args);
	va_end(args);
	return error_set(parser->err, -EINVAL, "%s:%u: %s", parser->file,
			 parser->line, why.text);
}

int vmfile_out_of_memory(const struct vmfile_parser *parser)
{
	return error_set_errno(parser->err, -ENOMEM, "%s", parser->file);
}

int vmfile_keep(const struct vmfile_parser *parser, char **field,
		const char *what, const char *text)
{
	if (*field != NULL)
		return vmfile_fail(parser, "'%s' given twice", what);
	if (*text == '\0')
		return vmfile_fail(parser, "'%s' is empty", what);
	*field = strdup(text);
	return *field == NULL ? vmfile_out_of_memory(parser) : 0;
}

int vmfile_keep_path(const struct vmfile_parser *parser, char **field,
		     const char *what, const char *path)
{
	const char *slash = strrchr(parser->file, '/');
	const char *folder = parser->file;
	_cleanup_free_ char *whole = NULL;

	if (*path == '/' || *path == '\0')
		return vmfile_keep(parser, field, what, path);
	if (slash == NULL && *path != '-')
		return vmfile_keep(parser, field, what, path);
	if (slash == NULL) {
		folder = "./";
		slash = folder + 1;
	}
	if (asprintf(&whole, "%s%.*s/%s", *folder == '-' ? "./" : "",
		     (int)(slash - folder), folder, path) < 0)
		return vmfile_out_of_memory(parser);
	return vmfile_keep(parser, field, what, whole);
}

struct directive {
	const char *name;
	int (*parse)(const struct vmfile_parser *parser,
		     const struct directive *directive, int n, char **words);
	int n_min, n_max; /* words after its name */
	size_t field;	  /* in struct vmfile, where parse uses one */
	enum vmfile_kind kind;
};

static char **text_field(const struct vmfile_parser *parser,
			 const struct directive *directive)
{
	return (char **)(void *)((char *)parser->vm + directive->field);
}

static int parse_path(const struct vmfile_parser *parser,
		      const struct directive *directive, int n, char **words)
{
	(void)n;
	return vmfile_keep_path(parser, text_field(parser, directive),
				directive->name, words[0]);
}

static int parse_name(const struct vmfile_parser *parser,
		      const struct directive *directive, int n, char **words)
{
	(void)n;
	for (const char *c = words[0]; *c != '\0'; c++)
		if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL)
			return vmfile_fail(parser,
					   "'%s': a name is letters, digits, "
					   "'.', '_' and '-'",
					   words[0]);
	return vmfile_keep(parser, text_field(parser, directive),
			   directive->name, words[0]);
}

static int parse_memory(const struct vmfile_parser *parser,
			const struct directive *directive, int n, char **words)
{
	uint64_t bytes;

	(void)n;
	if (size_parse(words[0], 'M', &bytes) < 0 || bytes == 0)
		return vmfile_fail(parser, "'%s': not a size, as 512M is",
				   words[0]);
	return vmfile_keep(parser, text_field(parser, directive),
			   directive->name, words[0]);
}

static int parse_cpus(const struct vmfile_parser *parser,
		      const struct directive *directive, int n, char **words)
{
	uint64_t number;

	(void)n;
	if (number_parse(words[0], 1, CPUS_MAX, &number) < 0)
		return vmfile_fail(parser, "'%s': not a number from 1 to %d",
				   words[0], CPUS_MAX);
	return vmfile_keep(parser, text_field(parser, directive),
			   directive->name, words[0]);
}

/* Words of all lines of this name become one text. */
static int parse_append(const struct vmfile_parser *parser,
			const struct directive *directive, int n, char **words)
{
	char **field = text_field(parser, directive);

	for (int i = 0; i < n; i++) {
		char *longer;

		if (asprintf(&longer, "%s%s%s", *field != NULL ? *field : "",
			     *field != NULL ? " " : "", words[i]) < 0)
			return vmfile_out_of_memory(parser);
		free(*field);
		*field = longer;
	}
	return 0;
}

static int parse_hugepages(const struct vmfile_parser *parser,
			   const struct directive *directive, int n,
			   char **words)
{
	(void)directive;
	(void)n;
	(void)words;
	parser->vm->with_hugepages = true;
	return 0;
}

static int parse_serial(const struct vmfile_parser *parser,
			const struct directive *directive, int n, char **words)
{
	static const struct {
		const char *name;
		enum vmfile_serial serial;
	} ways[] = {
		{ "stdio", VMFILE_SERIAL_STDIO },
		{ "none", VMFILE_SERIAL_NONE },
		{ "console", VMFILE_SERIAL_CONSOLE },
	};
	struct vmfile *vm = parser->vm;

	if (vm->serial != VMFILE_SERIAL_UNSET)
		return vmfile_fail(parser, "'%s' given twice", directive->name);
	for (size_t i = 0; i < array_size(ways); i++)
		if (strcmp(words[0], ways[i].name) == 0)
			vm->serial = ways[i].serial;
	if (vm->serial == VMFILE_SERIAL_UNSET)
		return vmfile_fail(parser, "'%s': not stdio, none or console",
				   words[0]);
	if (vm->serial != VMFILE_SERIAL_CONSOLE && n > 1)
		return vmfile_fail(parser,
				   "unknown word '%s' after 'serial %s'",
				   words[1], words[0]);
	vm->serial_console.kind = VMFILE_CONSOLE;
	return vmfile_take_words(parser, &vm->serial_console, n - 1, words + 1);
}

static int parse_device(const struct vmfile_parser *parser,
			const struct directive *directive, int n, char **words)
{
	struct vmfile *vm = parser->vm;
	struct vmfile_device *device;
	int ret;

	if (vm->n_devices == VMFILE_DEVICES_MAX)
		return vmfile_fail(parser, "more than %d devices",
				   VMFILE_DEVICES_MAX);
	device = &vm->devices[vm->n_devices++];
	device->kind = directive->kind;
	ret = vmfile_take_words(parser, device, n, words);
	return ret < 0 ? ret : vmfile_check_device(parser, device);
}

static int parse_restart(const struct vmfile_parser *parser,
			 const struct directive *directive, int n, char **words)
{
	bool *is_restarted =
		(bool *)(void *)((char *)parser->vm + directive->field);

	(void)n;
	*is_restarted = strcmp(words[0], "restart") == 0;
	if (!*is_restarted && strcmp(words[0], "exit") != 0)
		return vmfile_fail(parser, "'%s': neither restart nor exit",
				   words[0]);
	return 0;
}

static int parse_shutdown_timeout(const struct vmfile_parser *parser,
				  const struct directive *directive, int n,
				  char **words)
{
	uint64_t seconds;

	(void)directive;
	(void)n;
	if (number_parse(words[0], 1, SHUTDOWN_TIMEOUT_MAX_S, &seconds) < 0)
		return vmfile_fail(parser, "'%s': not a number of seconds",
				   words[0]);
	parser->vm->shutdown_timeout_s = (unsigned)seconds;
	return 0;
}

#define VM(name) offsetof(struct vmfile, name)

enum {
	ANY = VMFILE_WORDS_MAX,
};

static const struct directive directives[] = {
	{ "name", parse_name, 1, 1, VM(name), 0 },
	{ "memory", parse_memory, 1, 1, VM(memory), 0 },
	{ "hugepages", parse_hugepages, 0, 0, 0, 0 },
	{ "cpus", parse_cpus, 1, 1, VM(cpus), 0 },
	{ "kernel", parse_path, 1, 1, VM(kernel), 0 },
	{ "initrd", parse_path, 1, 1, VM(initrd), 0 },
	{ "append", parse_append, 1, ANY, VM(append), 0 },
	{ "serial", parse_serial, 1, ANY, 0, 0 },
	{ "control", parse_path, 1, 1, VM(control), 0 },
	{ "disk", parse_device, 1, ANY, 0, VMFILE_DISK },
	{ "net", parse_device, 0, ANY, 0, VMFILE_NET },
	{ "console", parse_device, 0, ANY, 0, VMFILE_CONSOLE },
	{ "device", parse_device, 1, ANY, 0, VMFILE_DEVICE },
	{ "on-reboot", parse_restart, 1, 1, VM(is_restarted_on_reboot), 0 },
	{ "on-crash", parse_restart, 1, 1, VM(is_restarted_on_crash), 0 },
	{ "shutdown-timeout", parse_shutdown_timeout, 1, 1, 0, 0 },
};

static int parse_words(struct vmfile_parser *parser, int n, char **words)
{
	for (size_t i = 0; i < array_size(directives); i++) {
		const struct directive *directive = &directives[i];

		if (strcmp(directive->name, words[0]) != 0)
			continue;
		if (n - 1 < directive->n_min)
			return vmfile_fail(parser, "'%s' needs %s", words[0],
					   directive->n_max == 1 ? "a word"
								 : "words");
		if (n - 1 > directive->n_max)
			return vmfile_fail(parser,
					   "unknown word '%s' after '%s'",
					   words[1 + directive->n_max],
					   words[0]);
		parser->directive = directive->name;
		return directive->parse(parser, directive, n - 1, words + 1);
	}
	return vmfile_fail(parser, "unknown directive '%s'", words[0]);
}

/* Where the comment begins, or the line's end: '#' at a word's begin. */
static size_t comment_start(const char *line, size_t len)
{
	bool is_quoted = false, is_word = false;

	for (size_t i = 0; i < len; i++) {
		char c = line[i];

		if (c == '#' && !is_word)
			return i;
		if (c == '"')
			is_quoted = !is_quoted;
		else if (c == '\\' && is_quoted)
			i++;
		is_word = is_quoted || (c != ' ' && c != '\t');
	}
	return len;
}

static int parse_line(struct vmfile_parser *parser, const char *text,
		      size_t len)
{
	char line[LINE_MAX_LEN + 1];
	char *words[VMFILE_WORDS_MAX];
	const char *reason;
	int n;

	len = comment_start(text, len);
	if (len > LINE_MAX_LEN)
		return vmfile_fail(parser, "longer than %d bytes",
				   LINE_MAX_LEN);
	if (memchr(text, '\0', len) != NULL)
		return vmfile_fail(parser, "control character");
	memcpy(line, text, len);
	n = control_line_split(line, len, words, VMFILE_WORDS_MAX, &reason);
	if (n < 0)
		return vmfile_fail(parser, "%s", reason);
	return n == 0 ? 0 : parse_words(parser, n, words);
}

/* The file's name without folder and ".vm". */
static int name_after_file(const struct vmfile_parser *parser)
{
	const char *slash = strrchr(parser->file, '/');
	const char *base = slash != NULL ? slash + 1 : parser->file;
	const char *suffix = strrchr(base, '.');
	size_t len = suffix != NULL && suffix > base ? (size_t)(suffix - base)
						     : strlen(base);

	parser->vm->name = strndup(base, len);
	return parser->vm->name == NULL ? vmfile_out_of_memory(parser) : 0;
}

int vmfile_parse(struct vmfile *vm, const char *file, const char *text,
		 size_t len, struct error *err)
{
	struct vmfile_parser parser = { .vm = vm, .file = file, .err = err };
	int ret = 0;

	while (len > 0 && ret == 0) {
		const char *newline = memchr(text, '\n', len);
		size_t line_len =
			newline != NULL ? (size_t)(newline - text) : len;

		parser.line++;
		ret = parse_line(&parser, text, line_len);
		line_len += newline != NULL;
		text += line_len;
		len -= line_len;
	}
	if (ret == 0 && vm->kernel == NULL)
		ret = error_set(err, -EINVAL, "%s: no directive 'kernel'",
				file);
	if (ret == 0 && vm->name == NULL)
		ret = name_after_file(&parser);
	return ret;
}

/* All of it, at most size bytes. Returns their number or -errno. */
static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = read(fd, text + len, size - len);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

int vmfile_read(struct vmfile *vm, const char *file, struct error *err)
{
	bool is_stdin = strcmp(file, "-") == 0;
	_cleanup_fd_ int opened = -1;
	char *text;
	ssize_t len;
	int ret;

	if (!is_stdin) {
		opened = open(file, O_RDONLY | O_CLOEXEC);
		if (opened < 0)
			return error_set_errno(err, -errno, "%s", file);
	}
	text = calloc(1, VMFILE_SIZE_MAX + 1);
	if (text == NULL)
		return error_set_errno(err, -ENOMEM, "%s", file);
	len = read_all(is_stdin ? STDIN_FILENO : opened, text,
		       VMFILE_SIZE_MAX + 1);
	if (len > VMFILE_SIZE_MAX)
		len = -EFBIG;
	if (len < 0)
		ret = error_set_errno(err, (int)len, "%s", file);
	else
		ret = vmfile_parse(vm, is_stdin ? "stdin" : file, text,
				   (size_t)len, err);
	free(text);
	return ret;
}

void vmfile_deinit(struct vmfile *vm)
{
	for (unsigned i = 0; i < vm->n_devices; i++)
		vmfile_deinit_device(&vm->devices[i]);
	vmfile_deinit_device(&vm->serial_console);
	free(vm->name);
	free(vm->memory);
	free(vm->cpus);
	free(vm->kernel);
	free(vm->initrd);
	free(vm->append);
	free(vm->control);
	*vm = (struct vmfile)VMFILE_INIT;
}
