/* SPDX-License-Identifier: ISC */
/*
 * Rule files: sections of NAME = "VALUE" lines, in the dialect of QEMU's
 * -readconfig. A line's blanks separate; what has no quotes has no value; a
 * comment begins a line. Somebody else's file may be anything: words and lines
 * have bounds, and so has the number of rules.
 */
#include "lib/image/blkdebug.h"

#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/base/text.h"
#include "lib/image/image.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum {
	ERROR_MAX = 4095,
	FILE_LEN_MAX = 1 << 20,
	DEFAULT_IO = 1 << BLKDEBUG_IO_READ | 1 << BLKDEBUG_IO_WRITE |
		     1 << BLKDEBUG_IO_WRITE_ZEROES | 1 << BLKDEBUG_IO_DISCARD |
		     1 << BLKDEBUG_IO_FLUSH,
};

static const char *const sections[BLKDEBUG_N_ACTIONS] = {
	[BLKDEBUG_INJECT_ERROR] = "inject-error",
	[BLKDEBUG_SET_STATE] = "set-state",
};

static const char *const io_names[BLKDEBUG_N_IO] = {
	"read", "write", "write-zeroes", "discard", "flush", "block-status",
};

static const char *const event_names[IMAGE_N_EVENTS] = {
	"l1_update",
	"l1_grow_alloc_table",
	"l1_grow_write_table",
	"l1_grow_activate_table",
	"l2_load",
	"l2_update",
	"l2_update_compressed",
	"l2_alloc_cow_read",
	"l2_alloc_write",
	"read_aio",
	"read_backing_aio",
	"read_compressed",
	"write_aio",
	"write_compressed",
	"vmstate_load",
	"vmstate_save",
	"cow_read",
	"cow_write",
	"reftable_load",
	"reftable_grow",
	"reftable_update",
	"refblock_load",
	"refblock_update",
	"refblock_update_part",
	"refblock_alloc",
	"refblock_alloc_hookup",
	"refblock_alloc_write",
	"refblock_alloc_write_blocks",
	"refblock_alloc_write_table",
	"refblock_alloc_switch_table",
	"cluster_alloc",
	"cluster_alloc_bytes",
	"cluster_free",
	"flush_to_os",
	"flush_to_disk",
	"pwritev_rmw_head",
	"pwritev_rmw_after_head",
	"pwritev_rmw_tail",
	"pwritev_rmw_after_tail",
	"pwritev",
	"pwritev_zero",
	"pwritev_done",
	"empty_image_prepare",
	"l1_shrink_write_table",
	"l1_shrink_free_l2_clusters",
	"cor_write",
	"cluster_alloc_space",
	"none",
};

const char *blkdebug_event_name(enum image_event event)
{
	return event_names[event];
}

struct blkdebug *blkdebug_new(void)
{
	return calloc(1, sizeof(struct blkdebug));
}

void blkdebug_free(struct blkdebug *d)
{
	if (d == NULL)
		return;
	for (unsigned i = 0; i < d->n_rules; i++) {
		free(d->rules[i].event_name);
		free(d->rules[i].io_name);
		free(d->rules[i].id);
	}
	free(d->rules);
	free(d);
}

const char *blkdebug_section(enum blkdebug_action action)
{
	return sections[action];
}

struct blkdebug_rule *blkdebug_add(struct blkdebug *d,
				   enum blkdebug_action action)
{
	struct blkdebug_rule *rules;

	if (d->n_rules == BLKDEBUG_RULES_MAX)
		return NULL;
	rules = realloc(d->rules, (d->n_rules + 1) * sizeof(*rules));
	if (rules == NULL)
		return NULL;
	d->rules = rules;
	rules[d->n_rules] = (struct blkdebug_rule){
		.action = action,
		.error = EIO,
		.io_mask = DEFAULT_IO,
	};
	return &rules[d->n_rules++];
}

static int take_int(const char *name, const char *value, int *number,
		    struct error *err)
{
	uint64_t n;
	int rc = image_number_parse(name, value, &n, err);

	if (rc == 0)
		*number = (int)(uint32_t)n;
	return rc;
}

static int take_bool(const char *name, const char *value, bool *is_on,
		     struct error *err)
{
	static const char *const words[] = { "off", "on", "no",	   "yes",
					     "n",   "y",  "false", "true" };

	for (unsigned i = 0; i < array_size(words); i++)
		if (strcmp(value, words[i]) == 0) {
			*is_on = i % 2 != 0;
			return 0;
		}
	return error_set(err, -EINVAL, "Parameter '%s' expects 'on' or 'off'",
			 name);
}

/* What is no error number is none. */
static int take_error(struct blkdebug_rule *rule, const char *value,
		      struct error *err)
{
	int rc = take_int("errno", value, &rule->error, err);

	if (rule->error < 0 || rule->error > ERROR_MAX)
		rule->error = 0;
	return rc;
}

static int take_sector(struct blkdebug_rule *rule, const char *value,
		       struct error *err)
{
	uint64_t sector;
	int rc = image_number_parse("sector", value, &sector, err);

	if (rc < 0)
		return rc;
	rule->has_offset = sector != UINT64_MAX;
	/* Beyond the end of any file: never touched. */
	if (__builtin_mul_overflow(sector, 512, &rule->offset))
		rule->offset = UINT64_MAX;
	return 0;
}

int blkdebug_set(struct blkdebug_rule *rule, const char *name,
		 const char *value, struct error *err)
{
	bool unused;

	if (strcmp(name, "event") == 0)
		return text_replace(&rule->event_name, value);
	if (strcmp(name, "state") == 0)
		return take_int(name, value, &rule->state, err);
	if (rule->action == BLKDEBUG_SET_STATE)
		return strcmp(name, "new_state") == 0
			       ? take_int(name, value, &rule->new_state, err)
			       : -ENOENT;
	if (strcmp(name, "iotype") == 0)
		return text_replace(&rule->io_name, value);
	if (strcmp(name, "errno") == 0)
		return take_error(rule, value, err);
	if (strcmp(name, "sector") == 0)
		return take_sector(rule, value, err);
	if (strcmp(name, "once") == 0)
		return take_bool(name, value, &rule->is_once, err);
	/* Whether the caller waits for its error: here it always does. */
	if (strcmp(name, "immediately") == 0)
		return take_bool(name, value, &unused, err);
	return -ENOENT;
}

static int find_word(const char *const *words, unsigned n, const char *word,
		     unsigned *index, struct error *err)
{
	for (*index = 0; *index < n; ++*index)
		if (strcmp(words[*index], word) == 0)
			return 0;
	return error_set(err, -EINVAL, "invalid parameter value: %s", word);
}

static int check_rule(struct blkdebug_rule *rule, struct error *err)
{
	unsigned i;
	int rc;

	if (rule->event_name == NULL)
		return error_set(err, -EINVAL, "Missing event name for rule");
	rc = find_word(event_names, IMAGE_N_EVENTS, rule->event_name, &i, err);
	if (rc < 0)
		return rc;
	rule->event = (enum image_event)i;
	if (rule->io_name == NULL)
		return 0;
	rc = find_word(io_names, BLKDEBUG_N_IO, rule->io_name, &i, err);
	rule->io_mask = 1U << i;
	return rc;
}

int blkdebug_check(struct blkdebug *d, struct error *err)
{
	int rc = 0;

	for (unsigned kind = 0; kind < BLKDEBUG_N_ACTIONS; kind++)
		for (unsigned i = 0; rc == 0 && i < d->n_rules; i++)
			if (d->rules[i].action == kind)
				rc = check_rule(&d->rules[i], err);
	return rc;
}

/* A file that is being read. */
struct reader {
	struct blkdebug *d;
	struct blkdebug_rule *rule; /* of this section; NULL: before any */
	/* A name that the section should not have had, or "". */
	char odd[BLKDEBUG_WORD_MAX + 1];
};

/* Up to max characters of *p, to the first one that is in end or, with NULL, a
 * blank. */
static void take_word(const char **p, char *word, size_t max, const char *end)
{
	size_t n = 0;

	while (n < max && **p != '\0' &&
	       (end != NULL ? strchr(end, **p) == NULL
			    : !isspace((unsigned char)**p)))
		word[n++] = *(*p)++;
	word[n] = '\0';
}

static void skip_blanks(const char **p)
{
	while (isspace((unsigned char)**p))
		++*p;
}

static int end_section(struct reader *r, struct error *err)
{
	if (r->odd[0] == '\0')
		return 0;
	return error_set(err, -EINVAL, "Invalid parameter '%s'", r->odd);
}

static bool is_identifier(const char *id)
{
	if (!isalpha((unsigned char)*id))
		return false;
	while (isalnum((unsigned char)*id) ||
	       (*id != '\0' && strchr("-._", *id) != NULL))
		id++;
	return *id == '\0';
}

static int take_id(struct reader *r, const char *id, struct error *err)
{
	const struct blkdebug *d = r->d;

	if (!is_identifier(id))
		return error_set(err, -EINVAL,
				 "Parameter 'id' expects an identifier");
	for (unsigned i = 0; i < d->n_rules; i++)
		if (d->rules[i].action == r->rule->action &&
		    d->rules[i].id != NULL && strcmp(d->rules[i].id, id) == 0)
			return error_set(err, -EEXIST,
					 "Duplicate ID '%s' for %s", id,
					 sections[r->rule->action]);
	return text_replace(&r->rule->id, id);
}

/* [inject-error] or [inject-error "an-id"] */
static int begin_section(struct reader *r, const char *line, struct error *err)
{
	char group[BLKDEBUG_WORD_MAX + 1], id[BLKDEBUG_WORD_MAX + 1] = "";
	const char *p = line + 1;
	int rc = end_section(r, err);

	if (rc < 0)
		return rc;
	take_word(&p, group, BLKDEBUG_WORD_MAX, NULL);
	skip_blanks(&p);
	if (*p == '"') {
		p++;
		take_word(&p, id, BLKDEBUG_WORD_MAX, "\"");
	}
	if (id[0] == '\0') {
		p = line + 1;
		take_word(&p, group, BLKDEBUG_WORD_MAX, "]");
	}
	for (unsigned i = 0; i < BLKDEBUG_N_ACTIONS; i++) {
		if (strcmp(group, sections[i]) != 0)
			continue;
		r->rule = blkdebug_add(r->d, i);
		if (r->rule == NULL)
			return error_set(err, -E2BIG, "Too many rules");
		return id[0] != '\0' ? take_id(r, id, err) : 0;
	}
	return error_set(err, -EINVAL, "There is no option group '%s'", group);
}

static int take_attribute(struct reader *r, const char *line, struct error *err)
{
	char name[BLKDEBUG_WORD_MAX + 1], value[BLKDEBUG_VALUE_MAX + 1] = "";
	const char *p = line;
	int rc;

	skip_blanks(&p);
	take_word(&p, name, BLKDEBUG_WORD_MAX, NULL);
	if (name[0] == '\0')
		return error_set(err, -EINVAL, "parse error");
	skip_blanks(&p);
	if (*p == '=') {
		p++;
		skip_blanks(&p);
		if (*p++ == '"')
			take_word(&p, value, BLKDEBUG_VALUE_MAX, "\"");
	}
	if (r->rule == NULL)
		return error_set(err, -EINVAL, "no group defined");
	if (strcmp(name, "id") == 0)
		return 0;
	rc = blkdebug_set(r->rule, name, value, err);
	if (rc != -ENOENT)
		return rc;
	if (r->odd[0] == '\0')
		memcpy(r->odd, name, sizeof(name));
	return 0;
}

static int take_line(struct reader *r, const char *line, struct error *err)
{
	if (line[0] == '\n' || line[0] == '#' || line[0] == '\0')
		return 0;
	if (line[0] == '[' && line[1] != ']' && line[1] != '\0')
		return begin_section(r, line, err);
	return take_attribute(r, line, err);
}

int blkdebug_parse(struct blkdebug *d, const char *text, size_t len,
		   struct error *err)
{
	struct reader r = { .d = d };
	int rc = 0;

	while (rc == 0 && len > 0) {
		size_t max =
			len < BLKDEBUG_VALUE_MAX ? len : BLKDEBUG_VALUE_MAX;
		const char *end = memchr(text, '\n', max);
		size_t n = end != NULL ? (size_t)(end - text) + 1 : max;
		char line[BLKDEBUG_VALUE_MAX + 1];

		memcpy(line, text, n);
		line[n] = '\0';
		rc = take_line(&r, line, err);
		text += n;
		len -= n;
	}
	return rc == 0 ? end_section(&r, err) : rc;
}

int blkdebug_load(struct blkdebug *d, const char *path, struct error *err)
{
	_cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *text = malloc(FILE_LEN_MAX);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return error_set_errno(err, -errno,
				       "Could not read blkdebug config file");
	if (text == NULL)
		return -ENOMEM;
	while ((n = read(fd, text + len, FILE_LEN_MAX - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		return error_set_errno(err, -errno, "Cannot read config file");
	if (len == FILE_LEN_MAX)
		return error_set(err, -EFBIG, "Config file '%s' is too long",
				 path);
	return blkdebug_parse(d, text, len, err);
}

bool blkdebug_is_name(const char *name)
{
	return strncmp(name, "blkdebug:", strlen("blkdebug:")) == 0;
}

const char *blkdebug_path(const char *name)
{
	const char *colon = strchr(name + strlen("blkdebug:"), ':');

	return colon != NULL ? colon + 1 : NULL;
}
