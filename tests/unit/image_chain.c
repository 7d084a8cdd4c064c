/* SPDX-License-Identifier: ISC */
/*
 * Opening chains: which names are followed, from where, how far, and what is
 * said of those that are not.
 */
#include "lib/base/cleanup.h"
#include "lib/base/error.h"
#include "lib/image/format.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum {
	SIZE = 1024 * 1024,
	CLUSTER = 65536,
	STACK = 2 * 1024 * 1024,
};

static char dir[] = "/var/tmp/image_chain.XXXXXX";
static int home = -1;

/* Tests run in dir; what is left there goes afterwards. */
static int set_up(void **state)
{
	(void)state;
	strcpy(dir, "/var/tmp/image_chain.XXXXXX");
	home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	return home < 0 || mkdtemp(dir) == NULL || chdir(dir) < 0 ||
	       mkdir("sub", 0700) < 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {
		"a", "b", "c", "raw", "sub/a", "sub/b",
	};
	char name[16];

	(void)state;
	for (unsigned i = 0; i < array_size(names); i++)
		unlink(names[i]);
	for (int i = 0; i <= IMAGE_DEPTH_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		unlink(name);
	}
	if (rmdir("sub") < 0 || fchdir(home) < 0)
		return -1;
	close_fd(&home);
	return rmdir(dir);
}

static void make(const char *path, const char *backing, const char *format)
{
	const struct image_option small = { "cluster_size", "65536" };
	const struct image_create_options how = {
		.format = "qcow2",
		.size = SIZE,
		.has_size = true,
		.backing_path = backing,
		.backing_format = format,
		.is_backing_unchecked = true,
		.options = &small,
		.n_options = 1,
	};

	assert_int_equal(image_create(path, &how, NULL), 0);
}

static void make_raw(const char *path, uint64_t size, const char *start)
{
	_cleanup_fd_ int fd =
		open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, start, strlen(start), 0), strlen(start));
}

/* A descriptor of one flat extent. */
static void make_vmdk(const char *path, const char *extent)
{
	_cleanup_free_ char *text = NULL;

	assert_true(asprintf(&text,
			     "# Disk DescriptorFile\nversion=1\nCID=1\n"
			     "createType=\"monolithicFlat\"\n"
			     "RW %d FLAT \"%s\" 0\n",
			     SIZE / IMAGE_SECTOR, extent) > 0);
	unlink(path);
	make_raw(path, strlen(text), text);
}

static struct image *open_image(const char *path, unsigned flags)
{
	const struct image_open_options how = { .flags = flags };
	struct error err = ERROR_INIT;
	struct image *image = NULL;
	int rc = image_open(&image, path, &how, &err);

	if (rc < 0)
		fail_msg("%s: %s", path, error_text(&err, rc));
	return image;
}

static void assert_refused(const char *path,
			   const struct image_open_options *how, int code,
			   const char *text)
{
	struct error err = ERROR_INIT;
	struct image *image = NULL;

	assert_int_equal(image_open(&image, path, how, &err), code);
	assert_string_equal(err.text, text);
	assert_null(image);
}

static void names_count_from_the_image(void **state)
{
	struct image *image;
	char c = 0;

	(void)state;
	make_raw("raw", SIZE, "hello");
	make("sub/a", "../raw", "raw");
	make("b", "sub/a", "qcow2");
	image = open_image("b", IMAGE_READ_ONLY);
	assert_string_equal(image_path(image_backing(image)), "sub/a");
	assert_string_equal(image_path(image_backing(image_backing(image))),
			    "sub/../raw");
	assert_int_equal(image_read(image, 1, &c, 1, NULL), 0);
	assert_int_equal(c, 'e');
	assert_int_equal(image_close(image, NULL), 0);
}

/* Writers of an image only read what is under it. */
static void backing_images_are_only_read(void **state)
{
	struct image *image;
	char c = 'x';

	(void)state;
	make_raw("raw", SIZE, "hello");
	make("a", "raw", "raw");
	image = open_image("a", 0);
	assert_false(image_is_read_only(image));
	assert_true(image_is_read_only(image_backing(image)));
	assert_int_equal(image_write(image, 0, &c, 1, NULL), 0);
	assert_int_equal(image_read(image_backing(image), 0, &c, 1, NULL), 0);
	assert_int_equal(c, 'h');
	assert_int_equal(image_read(image, 0, &c, 1, NULL), 0);
	assert_int_equal(c, 'x');
	assert_int_equal(image_read(image, 1, &c, 1, NULL), 0);
	assert_int_equal(c, 'e'); /* the rest of the cluster was copied */
	assert_int_equal(image_close(image, NULL), 0);
}

static void map_walks_the_chain(void **state)
{
	struct image *image;
	struct image_extent e;

	(void)state;
	make_raw("raw", SIZE / 2, "hello");
	make("a", "raw", "raw");
	make("b", "a", "qcow2");
	image = open_image("a", 0);
	assert_int_equal(image_write(image, CLUSTER, "x", 1, NULL), 0);
	assert_int_equal(image_close(image, NULL), 0);
	image = open_image("b", 0);
	assert_int_equal(image_map(image, 0, SIZE, IMAGE_MAP_CHAIN, &e, NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_DATA);
	assert_int_equal(e.depth, 2);
	assert_int_equal(image_map(image, CLUSTER, SIZE - CLUSTER,
				   IMAGE_MAP_CHAIN, &e, NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_DATA);
	assert_int_equal(e.depth, 1);
	assert_int_equal(e.len, CLUSTER);
	assert_false(e.is_writable_in_place);
	assert_int_equal(image_map(image, SIZE / 2, SIZE / 2, IMAGE_MAP_CHAIN,
				   &e, NULL),
			 0);
	assert_int_equal(e.kind, IMAGE_EXTENT_HOLE);
	assert_int_equal(e.len, SIZE / 2);
	assert_int_equal(image_close(image, NULL), 0);
}

static void protocols_are_no_paths(void **state)
{
	static const struct image_open_options lax = { .flags = 0 };
	struct image *image;

	(void)state;
	make("a", "nbd://localhost/x", "raw");
	assert_refused("a", &lax, -ENOTSUP,
		       "Backing file name 'nbd://localhost/x' is not a plain "
		       "path");
	/* info may still look at it. */
	image = open_image("a", IMAGE_READ_ONLY | IMAGE_NO_BACKING);
	image_abandon(image);
	/* A colon after a slash is part of a name. */
	make_raw("sub/b", SIZE, "b");
	make("a", "./sub/b", "raw");
	image_abandon(open_image("a", 0));
}

static bool is_in_sub(void *context, const char *path)
{
	unsigned *n_asked = context;

	++*n_asked;
	return strncmp(path, "sub/", 4) == 0 && strstr(path, "..") == NULL;
}

static void policy_decides(void **state)
{
	unsigned n_asked = 0;
	const struct image_open_options how = { .may_open = is_in_sub,
						.policy_context = &n_asked };
	struct image *image = NULL;

	(void)state;
	make_raw("raw", SIZE, "x");
	make_raw("sub/b", SIZE, "b");
	make("a", "raw", "raw");
	assert_refused("a", &how, -EACCES, "Backing file 'raw' is not allowed");
	assert_int_equal(n_asked, 1);
	make("a", "sub/b", "raw");
	assert_int_equal(image_open(&image, "a", &how, NULL), 0);
	image_abandon(image);
	/* It is asked of each image of the chain, not of the first alone. */
	make("sub/a", "../raw", "raw");
	make("a", "sub/a", "qcow2");
	assert_refused("a", &how, -EACCES,
		       "Could not open backing file: Backing file "
		       "'sub/../raw' is not allowed");
}

/* In the image's own folder there are only the maker's own files. */
static void policy_decides_on_extents(void **state)
{
	unsigned n_asked = 0;
	const struct image_open_options how = { .may_open = is_in_sub,
						.policy_context = &n_asked };
	struct image *image = NULL;

	(void)state;
	make_raw("raw", SIZE, "x");
	make_raw("sub/b", SIZE, "b");
	make_vmdk("a", "raw");
	assert_int_equal(image_open(&image, "a", &how, NULL), 0);
	image_abandon(image);
	assert_int_equal(n_asked, 0);
	make_vmdk("a", "sub/b");
	assert_int_equal(image_open(&image, "a", &how, NULL), 0);
	image_abandon(image);
	assert_int_equal(n_asked, 1);
	make_vmdk("a", "./raw");
	assert_refused("a", &how, -EACCES,
		       "VMDK extent './raw' is not allowed");
	assert_int_equal(n_asked, 2);
}

/* Nothing is made up of what was not looked at. */
static void extent_that_is_left_alone(void **state)
{
	static const struct image_open_options how = {
		.flags = IMAGE_READ_ONLY | IMAGE_METADATA_ONLY | IMAGE_ALONE
	};
	struct image *image = NULL;
	struct error err = ERROR_INIT;
	char byte;

	(void)state;
	make_vmdk("a", "sub/none");
	assert_int_equal(image_open(&image, "a", &how, NULL), 0);
	assert_int_equal(image_size(image), SIZE);
	assert_int_equal(image_read(image, 0, &byte, 1, &err), -EACCES);
	assert_string_equal(err.text, "VMDK extent 'sub/none' is in another "
				      "folder, and was not opened");
	image_abandon(image);
}

static void missing_backing_file(void **state)
{
	static const struct image_open_options lax = { .flags = 0 };

	(void)state;
	make("a", "none", "raw");
	assert_refused("a", &lax, -ENOENT,
		       "Could not open backing file: Could not open 'none': "
		       "No such file or directory");
	make("b", "a", "foo");
	assert_refused("b", &lax, -ENOENT,
		       "Could not open backing file: Unknown driver 'foo'");
}

static void loops_end(void **state)
{
	static const struct image_open_options how = {
		.flags = IMAGE_READ_ONLY
	};

	(void)state;
	make("a", "a", "qcow2");
	assert_refused("a", &how, -ELOOP,
		       "Backing file 'a' creates an infinite loop.");
	make("a", "sub/../b", "qcow2");
	make("b", "c", "qcow2");
	make("c", "a", "qcow2");
	assert_refused("a", &how, -ELOOP,
		       "Could not open backing file: Could not open backing "
		       "file: Backing file 'sub/../a' creates an infinite "
		       "loop.");
}

/* The deepest chain that opens is read with a quarter of the usual stack. */
static void *read_deep(void *image)
{
	static char text[5];

	return image_read(image, 0, text, sizeof(text), NULL) == 0 ? text
								   : NULL;
}

static void check_deep(struct image *image)
{
	pthread_attr_t attributes;
	pthread_t thread;
	void *text = NULL;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	assert_int_equal(pthread_create(&thread, &attributes, read_deep, image),
			 0);
	assert_int_equal(pthread_join(thread, &text), 0);
	pthread_attr_destroy(&attributes);
	assert_non_null(text);
	assert_string_equal(text, "deep");
}

static void depth_is_bounded(void **state)
{
	static const struct image_open_options how = {
		.flags = IMAGE_READ_ONLY
	};
	struct error err = ERROR_INIT;
	struct image *image = NULL;
	char name[16], under[16];

	(void)state;
	make_raw("n0", SIZE, "deep");
	for (int i = 1; i <= IMAGE_DEPTH_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		snprintf(under, sizeof(under), "n%d", i - 1);
		make(name, under, i == 1 ? "raw" : "qcow2");
	}
	snprintf(name, sizeof(name), "n%d", IMAGE_DEPTH_MAX - 1);
	assert_int_equal(image_open(&image, name, &how, NULL), 0);
	check_deep(image);
	image_abandon(image);
	snprintf(name, sizeof(name), "n%d", IMAGE_DEPTH_MAX);
	assert_int_equal(image_open(&image, name, &how, &err), -ELOOP);
	assert_non_null(strstr(err.text, "Could not open backing file"));
}

/* Without a format in the image its maker did not say what is under it. */
static void backing_format_is_guessed(void **state)
{
	struct image *image;

	(void)state;
	make_raw("raw", SIZE, "plain");
	make("b", NULL, NULL);
	make("a", "b", NULL);
	image = open_image("a", 0);
	assert_string_equal(image_format_name(image_backing(image)), "qcow2");
	image_abandon(image);
	make("a", "raw", NULL);
	image = open_image("a", 0);
	assert_string_equal(image_format_name(image_backing(image)), "raw");
	image_abandon(image);
	/* And is believed where it is said. */
	make("a", "b", "raw");
	image = open_image("a", 0);
	assert_string_equal(image_format_name(image_backing(image)), "raw");
	image_abandon(image);
}

static void chain_is_locked(void **state)
{
	struct image *image, *other = NULL;
	struct error err = ERROR_INIT;

	(void)state;
	make("b", NULL, NULL);
	make("a", "b", "qcow2");
	image = open_image("a", 0);
	assert_int_equal(image_open(&other, "a", NULL, NULL), -EAGAIN);
	assert_int_equal(image_open(&other, "b", NULL, &err), -EAGAIN);
	assert_string_equal(err.text,
			    "Failed to get \"write\" lock: Is another process "
			    "using the image [b]?");
	image_abandon(open_image("b", IMAGE_READ_ONLY));
	image_abandon(open_image("a", IMAGE_READ_ONLY | IMAGE_FORCE_SHARE));
	assert_int_equal(image_close(image, NULL), 0);
	image_abandon(open_image("b", 0));
}

/* The backing image's size where none is said; and no half an image. */
static void creation_looks_at_the_backing_image(void **state)
{
	struct image_create_options how = { .format = "qcow2",
					    .backing_path = "../raw",
					    .backing_format = "raw" };
	struct error err = ERROR_INIT;
	struct image *image;

	(void)state;
	make_raw("raw", SIZE / 4, "x");
	assert_int_equal(image_create("sub/a", &how, NULL), 0);
	image = open_image("sub/a", 0);
	assert_int_equal(image_size(image), SIZE / 4);
	image_abandon(image);
	unlink("sub/a");
	how.backing_path = "none";
	assert_int_equal(image_create("sub/a", &how, &err), -ENOENT);
	assert_int_equal(access("sub/a", F_OK), -1);
	how.backing_path = NULL;
	assert_int_equal(image_create("sub/a", &how, NULL), -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(names_count_from_the_image),
		TEST(backing_images_are_only_read),
		TEST(map_walks_the_chain),
		TEST(protocols_are_no_paths),
		TEST(policy_decides),
		TEST(policy_decides_on_extents),
		TEST(extent_that_is_left_alone),
		TEST(missing_backing_file),
		TEST(loops_end),
		TEST(depth_is_bounded),
		TEST(backing_format_is_guessed),
		TEST(chain_is_locked),
		TEST(creation_looks_at_the_backing_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
