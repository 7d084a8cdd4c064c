/* SPDX-License-Identifier: ISC */
/*
 * qcow2 from its first byte to its last: which clusters there will be is known
 * from the maps of the sources, so that all tables can go before the data.
 *
 *	| header | refcount table | refcount blocks | L1 | L2 ... | LUKS |
 *	| data ... |
 *
 * What the header says besides is the model's, which the engine makes.
 * Compressed clusters are packed one behind the other: how long each is comes
 * of a pass of its own (stream_qcow2_layout.c has the places).
 */
#include "vm-img/stream_qcow2.h"

#include "lib/base/cleanup.h"
#include "lib/base/zero.h"
#include "lib/image/file.h"
#include "lib/image/image.h"
#include "lib/image/qcow2_pack.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

enum {
	PAGE = 4096,
	PIECE = 1 << 20, /* bytes of the disk, where a cluster is less */
	IN_FLIGHT_MAX = 64 << 20, /* bytes of all workers' pieces */
};

/* What is known not to shrink is not tried again. */
static int pack(const struct qcow2_layout *l, uint64_t cluster, void **tool,
		const uint8_t *in, uint8_t *out, size_t *len)
{
	bool is_known = l->n_data > 0;

	*len = QCOW2_LAYOUT_ZERO;
	if (is_zero(in, l->cluster_len))
		return 0;
	*len = 0;
	if (is_known && l->packed_lens[cluster] == 0)
		return 0;
	return qcow2_pack(l->is_zstd, tool, in, l->cluster_len, out, len);
}

/* A piece has room for what is read, and, behind that, for what it becomes. */
static int fill(const struct stream_pass *pass, uint64_t index,
		struct stream_piece *piece, struct error *err)
{
	const struct qcow2_layout *l = pass->context;
	size_t cluster_len = l->cluster_len;
	uint8_t *out = piece->buf + (size_t)pass->n_units * cluster_len;

	for (unsigned i = 0; i < pass->n_units; i++) {
		uint64_t cluster = index * pass->n_units + i;
		uint8_t *in = piece->buf + i * cluster_len;
		int rc;

		piece->n[i] = 0;
		if (cluster >= l->n_clusters ||
		    !stream_has_data(l->is_data, cluster))
			continue;
		rc = stream_read(pass->stream, cluster << l->cluster_bits, in,
				 cluster_len, err);
		if (rc == 0 && l->packed_lens != NULL)
			rc = pack(l, cluster, &piece->tool, in,
				  out + i * cluster_len, &piece->n[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The first of two passes. 0 is what does not shrink. */
static int note_lens(const struct stream_pass *pass, uint64_t index,
		     struct stream_piece *piece, struct error *err)
{
	const struct qcow2_layout *l = pass->context;

	(void)err;
	for (unsigned i = 0; i < pass->n_units; i++)
		if (index * pass->n_units + i < l->n_clusters)
			l->packed_lens[index * pass->n_units + i] =
				(uint32_t)piece->n[i];
	return 0;
}

static int check_len(const struct qcow2_layout *l, uint64_t cluster, size_t n,
		     struct error *err)
{
	if (l->packed_lens == NULL || l->packed_lens[cluster] == n)
		return 0;
	return error_set(err, -EIO,
			 "The input was changed while it was converted");
}

/* Up to where the next cluster is to be. */
static int pad(struct qcow2_layout *l, uint64_t until, struct error *err)
{
	static const uint8_t zeroes[PAGE];
	int rc = 0;

	while (rc == 0 && l->written < until) {
		uint64_t n = until - l->written;

		n = n < sizeof(zeroes) ? n : sizeof(zeroes);
		rc = stream_write(l->stream, zeroes, (size_t)n, err);
		l->written += n;
	}
	return rc;
}

static int emit_cluster(struct qcow2_layout *l, uint64_t cluster, uint8_t *data,
			uint8_t *packed, struct error *err)
{
	uint64_t len, offset = qcow2_layout_place(l, &l->end, cluster, &len);
	uint64_t host_offset = qcow2_layout_data_offset(l) + offset;
	int rc = pad(l, offset, err);

	if (len < l->cluster_len)
		data = packed;
	if (rc == 0 && l->cipher != NULL) {
		rc = cipher_encrypt(l->cipher, host_offset / CIPHER_SECTOR,
				    data, (size_t)len);
		if (rc < 0)
			return error_set_errno(err, rc, "Could not encrypt");
	}
	if (rc == 0)
		rc = stream_write(l->stream, data, (size_t)len, err);
	l->written += len;
	return rc;
}

static int emit(const struct stream_pass *pass, uint64_t index,
		struct stream_piece *piece, struct error *err)
{
	struct qcow2_layout *l = pass->context;
	size_t cluster_len = l->cluster_len;
	uint8_t *out = piece->buf + (size_t)pass->n_units * cluster_len;
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < pass->n_units; i++) {
		uint64_t cluster = index * pass->n_units + i;

		if (cluster >= l->n_clusters ||
		    !stream_has_data(l->is_data, cluster))
			continue;
		rc = check_len(l, cluster, piece->n[i], err);
		if (rc == 0)
			rc = emit_cluster(l, cluster,
					  piece->buf + i * cluster_len,
					  out + i * cluster_len, err);
	}
	return rc;
}

/* Over all data, with as many workers as there is memory for. */
static int run(struct qcow2_layout *l, bool is_first, struct error *err)
{
	uint64_t n_units = PIECE >> l->cluster_bits, n_workers;
	struct stream stream = *l->stream;
	struct stream_pass pass = {
		.stream = &stream,
		.is_data = l->is_data,
		.fill = fill,
		.emit = is_first ? note_lens : emit,
		.free_tool = qcow2_pack_free,
		.context = l,
	};

	/* What the first of two passes has warned of. */
	stream.is_quiet |= !is_first && l->packed_lens != NULL;
	if (n_units < 1)
		n_units = 1;
	if (n_units > STREAM_UNITS)
		n_units = STREAM_UNITS;
	pass.n_units = (unsigned)n_units;
	pass.n = (l->n_clusters + n_units - 1) / n_units;
	pass.buf_len = (size_t)n_units << l->cluster_bits;
	if (l->packed_lens != NULL)
		pass.buf_len *= 2;
	pass.buf_len = (pass.buf_len + PAGE - 1) & ~(size_t)(PAGE - 1);
	n_workers = IN_FLIGHT_MAX / pass.buf_len;
	if (n_workers > 0 && n_workers < l->stream->n_workers)
		pass.n_workers = (unsigned)n_workers;
	return stream_run(&pass, err);
}

static int write_crypt(const struct qcow2_layout *l, struct error *err)
{
	int rc = 0;

	for (uint64_t i = 0; rc == 0 && i < l->n_crypt; i++) {
		uint64_t at = i << l->cluster_bits, n = l->crypt_len - at;

		memset(l->buf, 0, l->cluster_len);
		rc = image_file_read(l->model.file, l->crypt_offset + at,
				     l->buf,
				     n < l->cluster_len ? n : l->cluster_len);
		if (rc < 0)
			return error_set_errno(err, rc,
					       "Could not make the image");
		rc = stream_write(l->stream, l->buf, l->cluster_len, err);
	}
	return rc;
}

static int write_all(struct qcow2_layout *l, struct error *err)
{
	int rc = qcow2_layout_write(l, err);

	if (rc == 0)
		rc = write_crypt(l, err);
	if (rc == 0)
		rc = run(l, false, err);
	return rc == 0 ? pad(l, l->n_data << l->cluster_bits, err) : rc;
}

/* Clusters that are nothing but zeroes, which the maps did not know. */
static void take_zeroes_out(struct qcow2_layout *l)
{
	for (uint64_t i = 0; i < l->n_clusters; i++) {
		if (l->packed_lens[i] != QCOW2_LAYOUT_ZERO)
			continue;
		l->is_data[i / 8] &= (uint8_t) ~(1U << i % 8);
		if (l->is_zero != NULL)
			l->is_zero[i / 8] |= (uint8_t)(1U << i % 8);
	}
}

static int find_data(struct qcow2_layout *l, const struct stream_target *target,
		     struct error *err)
{
	bool has_backing = target->create->backing_path != NULL;
	int rc;

	if (has_backing)
		rc = stream_find_own(l->stream, l->cluster_len, &l->is_data,
				     l->version >= 3 ? &l->is_zero : NULL, err);
	else
		rc = stream_find_data(l->stream, l->cluster_len, &l->is_data,
				      err);
	if (rc < 0 || !target->is_compressed)
		return rc;
	l->packed_lens = calloc(l->n_clusters + 1, sizeof(*l->packed_lens));
	if (l->packed_lens == NULL)
		return -ENOMEM;
	rc = run(l, true, err);
	/* Version 2 has no other zeroes over a backing image. */
	if (rc == 0 && (!has_backing || l->version >= 3))
		take_zeroes_out(l);
	return rc;
}

int stream_qcow2(const struct stream *stream,
		 const struct stream_target *target, struct error *err)
{
	struct qcow2_layout l = { .stream = stream };
	int rc = qcow2_layout_init(&l, target, err);

	if (rc == 0)
		rc = find_data(&l, target, err);
	if (rc == 0)
		rc = qcow2_layout_count(&l, err);
	if (rc == 0)
		rc = write_all(&l, err);
	qcow2_layout_deinit(&l);
	return rc;
}
