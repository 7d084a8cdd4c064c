/* SPDX-License-Identifier: ISC */
/* vm-console's parts that need no socket: the history, and escapes. */
#include "vm-console/escape.h"
#include "vm-console/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Whatever is appended, what is there are the last bytes, in order. */
static void test_history(void **state)
{
	static const size_t capacities[] = { 1, 7, 64 };
	unsigned seed = 1;

	(void)state;
	for (unsigned c = 0; c < 3; c++) {
		struct history history = HISTORY_INIT;
		uint8_t bytes[200];
		uint64_t written = 0;

		assert_int_equal(history_init(&history, capacities[c]), 0);
		assert_int_equal(history_start(&history), 0);
		for (unsigned turn = 0; turn < 1000; turn++) {
			size_t len = (size_t)rand_r(&seed) % sizeof(bytes);
			struct iovec pieces[2];
			uint64_t at, from;
			unsigned n;

			for (size_t i = 0; i < len; i++)
				bytes[i] = (uint8_t)(written + i);
			history_append(&history, bytes, len);
			written += len;
			assert_int_equal(history.end, written);
			at = history_start(&history);
			assert_true(written - at <= capacities[c]);
			assert_true(at == 0 || written - at == capacities[c]);
			from = at = at + (written - at) / 3;
			n = history_pieces(&history, from, pieces);
			assert_true(n <= 2);
			for (unsigned p = 0; p < n; p++)
				for (size_t i = 0; i < pieces[p].iov_len; i++)
					assert_int_equal(((uint8_t *)pieces[p]
								  .iov_base)[i],
							 (uint8_t)at++);
			assert_int_equal(at, written);
		}
		history_deinit(&history);
		history_deinit(&history);
	}
}

/* What is sent of these keys; it ends at an escape that is an action. */
static enum escape_action type(int character, const char *keys, char *sent)
{
	struct escape escape;
	enum escape_action action = ESCAPE_NOTHING;
	uint8_t send[2];
	size_t n;

	escape_init(&escape, character);
	while (*keys && action == ESCAPE_NOTHING) {
		action = escape_filter(&escape, (uint8_t)*keys++, send, &n);
		memcpy(sent, send, n);
		sent += n;
	}
	*sent = '\0';
	return action;
}

static void test_escapes(void **state)
{
	static const struct {
		int character;
		const char *keys, *sent;
		enum escape_action action;
	} cases[] = {
		{ '~', "~.x", "", ESCAPE_LEAVE },
		{ '~', "ls\r~.x", "ls\r", ESCAPE_LEAVE },
		{ '~', "ls\n~?x", "ls\n", ESCAPE_HELP },
		{ '~', "cd ~.x", "cd ~.x", ESCAPE_NOTHING },
		{ '~', "~~.", "~.", ESCAPE_NOTHING },
		{ '~', "~~~.", "~~.", ESCAPE_NOTHING },
		{ '~', "~a~.", "~a~.", ESCAPE_NOTHING },
		{ '~', "~\r~.", "~\r", ESCAPE_LEAVE },
		{ '~', "\r\r~", "\r\r", ESCAPE_NOTHING },
		{ '%', "~.\r%.", "~.\r", ESCAPE_LEAVE },
		{ -1, "~.\r~.\377", "~.\r~.\377", ESCAPE_NOTHING },
	};
	char sent[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(type(cases[i].character, cases[i].keys, sent),
				 cases[i].action);
		assert_string_equal(sent, cases[i].sent);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_escapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
