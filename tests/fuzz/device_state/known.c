/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "known.h"

#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "wire/agreement.h"

#include "../require.h"

#define NODES	128
#define HANDLES 128
#define DEAD	64

static struct {
	bool loose, driver;
	unsigned n_nodes, n_handles, n_dead;
	struct {
		uint64_t nodeid, nlookup;
	} nodes[NODES];
	struct {
		uint64_t fh, nodeid;
	} handles[HANDLES];
	uint64_t dead[DEAD]; /* a ring: nodeids that were forgotten */
	/* More was given than there is room for: what is not here may be live. */
	bool nodes_overflowed, handles_overflowed;
} known;

void known_reset(bool driver)
{
	memset(&known, 0, sizeof(known));
	known.driver = driver;
	known.nodes[known.n_nodes++].nodeid = FUSE_ROOT_ID;
}

void known_loose(void)
{
	known_reset(known.driver);
	known.loose = true;
}

static int find_node(uint64_t nodeid)
{
	for (unsigned i = 0; i < known.n_nodes; i++)
		if (known.nodes[i].nodeid == nodeid)
			return (int)i;
	return -1;
}

static int find_handle(uint64_t fh)
{
	for (unsigned i = 0; i < known.n_handles; i++)
		if (known.handles[i].fh == fh)
			return (int)i;
	return -1;
}

uint64_t known_node(uint8_t which)
{
	if (which >= 248)
		return UINT64_C(0x9e3779b97f4a7c15) * which;
	if (which >= 232 && known.n_dead)
		return known.dead[which % MIN(known.n_dead, DEAD)];
	return known.nodes[which % known.n_nodes].nodeid;
}

uint64_t known_handle(uint8_t which, uint64_t *nodeid)
{
	unsigned i;

	*nodeid = FUSE_ROOT_ID;
	if (which >= 240 || !known.n_handles)
		return which;
	i = which % known.n_handles;
	*nodeid = known.handles[i].nodeid;
	return known.handles[i].fh;
}

/* ------------------------------------------------------------------ answers */

static void note_entry(const struct fuse_entry_out *entry)
{
	int at = find_node(entry->nodeid);

	if (!entry->nodeid)
		return; /* the name is not there */
	for (unsigned i = 0; i < MIN(known.n_dead, DEAD); i++)
		REQUIRE(known.dead[i] != entry->nodeid);
	if (at < 0 && known.n_nodes == NODES) {
		known.nodes_overflowed = true;
		return;
	}
	if (at < 0)
		known.nodes[at = (int)known.n_nodes++].nodeid = entry->nodeid;
	known.nodes[at].nlookup++;
}

static void note_open(uint64_t nodeid, const struct fuse_open_out *open)
{
	REQUIRE(known.loose || find_handle(open->fh) < 0);
	if (known.n_handles == HANDLES) {
		known.handles_overflowed = true;
		return;
	}
	known.handles[known.n_handles].fh = open->fh;
	known.handles[known.n_handles++].nodeid = nodeid;
}

static void note_dirplus(const uint8_t *payload, size_t len)
{
	size_t at = 0;

	while (at + FUSE_NAME_OFFSET_DIRENTPLUS <= len) {
		struct fuse_direntplus e;

		memcpy(&e, payload + at, sizeof(e));
		REQUIRE(e.dirent.namelen && e.dirent.namelen <= 255);
		REQUIRE(FUSE_DIRENTPLUS_SIZE(&e) <= len - at);
		note_entry(&e.entry_out);
		at += FUSE_DIRENTPLUS_SIZE(&e);
	}
	REQUIRE(at == len);
}

/* What stands at the end of answers that change names, and is a directory's. */
static size_t without_directory(const uint8_t *payload, size_t len, size_t body)
{
	struct fuse_attr_out attr;

	if (!known.driver || len == body)
		return len;
	REQUIRE(len == body + sizeof(attr));
	memcpy(&attr, payload + body, sizeof(attr));
	REQUIRE(S_ISDIR(attr.attr.mode));
	return body;
}

/* What stands at the beginning of a listing that opened its directory. */
static size_t note_listing(const struct message *m, const uint8_t *payload, size_t len)
{
	struct agreement_listing head;

	if (m->fh != AGREEMENT_NO_FH)
		return 0;
	REQUIRE(known.driver && len >= sizeof(head));
	memcpy(&head, payload, sizeof(head));
	REQUIRE(head.flags == LISTING_OPENED || head.flags == LISTING_ENDS);
	if (head.flags == LISTING_OPENED)
		note_open(m->nodeid, &(struct fuse_open_out){.fh = head.fh});
	return sizeof(head);
}

void known_note_answer(const struct message *m, const uint8_t *payload, size_t len)
{
	struct fuse_entry_out entry;
	struct fuse_open_out open;
	size_t head;
	int at;

	switch (m->row->opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
		REQUIRE(without_directory(payload, len, sizeof(entry)) == sizeof(entry));
		memcpy(&entry, payload, sizeof(entry));
		note_entry(&entry);
		break;
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		head = sizeof(entry) + sizeof(open);
		REQUIRE(without_directory(payload, len, head) == head);
		memcpy(&entry, payload, sizeof(entry));
		memcpy(&open, payload + sizeof(entry), sizeof(open));
		note_entry(&entry);
		note_open(entry.nodeid, &open);
		break;
	case FUSE_OPEN:
	case FUSE_OPENDIR:
		REQUIRE(len == sizeof(open));
		memcpy(&open, payload, sizeof(open));
		note_open(m->nodeid, &open);
		break;
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
		REQUIRE(without_directory(payload, len, 0) == 0);
		break;
	case FUSE_READDIR:
		note_listing(m, payload, len);
		break;
	case FUSE_READDIRPLUS:
		head = note_listing(m, payload, len);
		note_dirplus(payload + head, len - head);
		break;
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
		at = find_handle(m->fh);
		if (at >= 0)
			known.handles[at] = known.handles[--known.n_handles];
		break;
	}
}

uint64_t known_forget(uint8_t which, uint64_t *nodeid)
{
	unsigned i = which % known.n_nodes;
	uint64_t nlookup = known.nodes[i].nlookup;

	*nodeid = known.nodes[i].nodeid;
	if (!i)
		return 0;
	known.nodes[i] = known.nodes[--known.n_nodes];
	if (!known.nodes_overflowed && !known.loose)
		known.dead[known.n_dead++ % DEAD] = *nodeid;
	return nlookup;
}

bool known_dead(const struct message *m)
{
	if (known.loose || m->damaged || m->row->any_node)
		return false;
	if (m->row->by_handle)
		return !known.handles_overflowed && find_handle(m->fh) < 0;
	return !known.nodes_overflowed && find_node(m->nodeid) < 0;
}
