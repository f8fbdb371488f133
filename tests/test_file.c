/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/buf.h"
#include "px_file.h"

static char dir[] = "/tmp/px-file-XXXXXX";
static char path[64];

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/file", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void put(const char *bytes, size_t n, mode_t mode)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void reads_up_to_the_ceiling(void **state)
{
	char why[PX_WHY_MAX] = "", bytes[5000];

	(void)state;
	memset(bytes, 'x', sizeof bytes);
	bytes[1] = '\0';
	for (size_t n = 0; n < sizeof bytes; n += n < 20 ? 1 : 997) {
		struct px_buf b;

		put(bytes, n, 0600);
		assert_int_equal(px_file_read(path, n, false, &b, why), 0);
		assert_int_equal(b.len, n);
		if (n == 0) {
			assert_null(b.data);
			continue;
		}
		assert_memory_equal(b.data, bytes, n);
		assert_int_equal(b.data[n], '\0');
		assert_true(b.cap > n);
		px_buf_free(&b);
		assert_int_equal(px_file_read(path, n - 1, false, &b, why), -EFBIG);
		assert_null(b.data);
	}
	assert_string_equal(why, "is larger than 4007 bytes");
}

/* The kernel doesn't tell the size of such a file. */
static void reads_a_file_of_unknown_size(void **state)
{
	char why[PX_WHY_MAX] = "";
	struct px_buf b;

	(void)state;
	assert_int_equal(px_file_read("/proc/self/status", 1 << 16, false, &b, why), 0);
	assert_true(b.len > 5);
	assert_memory_equal(b.data, "Name:", 5);
	px_buf_free(&b);
	assert_int_equal(px_file_read("/proc/self/status", 100, false, &b, why), -EFBIG);
	assert_null(b.data);
	assert_string_equal(why, "is larger than 100 bytes");
}

static void refuses_what_others_may_read(void **state)
{
	char why[PX_WHY_MAX] = "";
	struct px_buf b;

	(void)state;
	for (mode_t mode = 0600; mode < 0700; mode++) {
		put("secret", 6, mode);
		assert_int_equal(px_file_read(path, 100, false, &b, why), 0);
		px_buf_free(&b);
		assert_int_equal(px_file_read(path, 100, true, &b, why), mode & 07 ? -EPERM : 0);
		assert_true((mode & 07) == 0 || b.data == NULL);
		px_buf_free(&b);
	}
	put("secret", 6, 0644);
	px_file_read(path, 100, true, &b, why);
	assert_string_equal(why, "others may access it (mode 0644); chmod o= it");
}

static void refuses_what_is_no_file(void **state)
{
	char why[PX_WHY_MAX] = "";
	struct px_buf b;

	(void)state;
	unlink(path);
	assert_int_equal(px_file_read(path, 100, false, &b, why), -ENOENT);
	assert_string_equal(why, "No such file or directory");
	assert_int_equal(px_file_read(dir, 100, false, &b, why), -EISDIR);
	assert_string_equal(why, "is a directory");
	assert_int_equal(px_file_read("/dev/null", 100, false, &b, why), -EINVAL);
	assert_string_equal(why, "is not a regular file");
	/* nobody writes into it: waiting for one would be for ever */
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(px_file_read(path, 100, false, &b, why), -EINVAL);
	assert_null(b.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_up_to_the_ceiling),
	    cmocka_unit_test(reads_a_file_of_unknown_size),
	    cmocka_unit_test(refuses_what_others_may_read),
	    cmocka_unit_test(refuses_what_is_no_file),
	};

	return cmocka_run_group_tests_name("file", tests, make_dir, remove_dir);
}
