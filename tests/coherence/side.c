/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "coherence/side.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LET_GO_MS 10000u

void side_open(struct side *s, const char *where)
{
	int err = 0;

	*s = (struct side){.dir = where};
	if (where[0] == '/')
		return;
	/* the device serves one front end, and may not have seen yet that the last one has left */
	for (unsigned ms = 0; ms < LET_GO_MS; ms += 20) {
		err = vfsdax_attach(where, NULL, &s->share);
		if (err == 0)
			return;
		usleep(20000);
	}
	die("%s", vfsdax_errstr());
}

void side_close(struct side *s)
{
	if (s->share)
		vfsdax_detach(s->share);
}

static void path_of(const struct side *s, const char *name, char path[4096])
{
	if (snprintf(path, 4096, "%s/%s", s->dir, name) >= 4096)
		die("%s/%s is too long", s->dir, name);
}

void side_rename(struct side *s, const char *from, const char *to)
{
	char a[4096], b[4096];

	if (s->share) {
		if (vfsdax_rename(s->share, from, to, 0))
			die("%s", vfsdax_errstr());
		return;
	}
	path_of(s, from, a);
	path_of(s, to, b);
	if (rename(a, b))
		die("rename %s to %s: %s", a, b, strerror(errno));
}

void side_keep(struct side *s, const char *name, const char *also)
{
	char a[4096], b[4096];

	if (s->share) {
		(void)vfsdax_unlink(s->share, also);
		if (vfsdax_link(s->share, name, also))
			die("%s", vfsdax_errstr());
		return;
	}
	path_of(s, name, a);
	path_of(s, also, b);
	(void)unlink(b);
	if (link(a, b))
		die("link %s to %s: %s", a, b, strerror(errno));
}

int file_try_open(struct file *f, struct side *s, const char *name, int flags)
{
	char path[4096];

	*f = (struct file){.fd = -1, .direct = -1};
	if (s->share)
		return vfsdax_open(s->share, name, flags, 0644, &f->lib);
	path_of(s, name, path);
	f->fd = open(path, flags | O_CLOEXEC, 0644);
	return f->fd < 0 ? -errno : 0;
}

void file_open(struct file *f, struct side *s, const char *name, int flags)
{
	int err = file_try_open(f, s, name, flags);
	char path[4096];

	if (err)
		die("open %s/%s: %s", s->dir, name, strerror(-err));
	if (s->share || (flags & O_ACCMODE) != O_RDWR || flags & O_APPEND)
		return;
	path_of(s, name, path);
	f->direct = open_or_die(path, O_RDWR | O_DIRECT);
}

void file_close(struct file *f)
{
	int err = f->lib ? vfsdax_close(f->lib) : close(f->fd) ? -errno : 0;

	if (err || (f->direct >= 0 && close(f->direct)))
		die("close: %s", strerror(err ? -err : errno));
}

size_t file_read(struct file *f, bool direct, void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		uint8_t *to = (uint8_t *)buf + done;
		ssize_t n = f->lib ? vfsdax_read(f->lib, to, len - done, off + done)
				   : pread(direct ? f->direct : f->fd, to, len - done,
					   (off_t)(off + done));

		if (n < 0)
			die("read of %zu at %llu: %s", len, (unsigned long long)off,
			    strerror(f->lib ? (int)-n : errno));
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return done;
}

void file_write(struct file *f, bool direct, const void *buf, size_t len, uint64_t off)
{
	ssize_t n = f->lib ? vfsdax_write(f->lib, buf, len, off)
			   : pwrite(direct ? f->direct : f->fd, buf, len, (off_t)off);

	if (n != (ssize_t)len)
		die("write of %zu at %llu: %zd (%s)", len, (unsigned long long)off, n,
		    n < 0 ? strerror(errno) : "short");
}

void file_append(struct file *f, const void *buf, size_t len)
{
	ssize_t n = f->lib ? vfsdax_write(f->lib, buf, len, 0) : write(f->fd, buf, len);

	if (n != (ssize_t)len)
		die("append of %zu: %zd (%s)", len, n, n < 0 ? strerror(errno) : "short");
}

void file_truncate(struct file *f, uint64_t size)
{
	int err = f->lib			  ? vfsdax_truncate(f->lib, size)
		  : ftruncate(f->fd, (off_t)size) ? -errno
						  : 0;

	if (err)
		die("truncate to %llu: %s", (unsigned long long)size, strerror(-err));
}

void file_allocate(struct file *f, int mode, uint64_t off, uint64_t len)
{
	int err = f->lib ? vfsdax_fallocate(f->lib, mode, off, len)
		  : fallocate(f->fd, mode, (off_t)off, (off_t)len) ? -errno
								   : 0;

	if (err)
		die("fallocate %d of %llu at %llu: %s", mode, (unsigned long long)len,
		    (unsigned long long)off, strerror(-err));
}

uint64_t file_size(struct file *f)
{
	struct stat st;
	int err = f->lib ? vfsdax_fstat(f->lib, &st) : fstat(f->fd, &st) ? -errno : 0;

	if (err)
		die("fstat: %s", strerror(-err));
	return (uint64_t)st.st_size;
}

int file_map(struct map *m, struct file *f, uint64_t off, size_t len, bool writes)
{
	int err;

	*m = (struct map){.len = len};
	if (!f->lib) {
		m->at = mmap(NULL, len, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, f->fd,
			     (off_t)off);
		return m->at == MAP_FAILED ? -errno : 0;
	}
	err = vfsdax_map(f->lib, off, len, VFSDAX_MAP_WHOLE | (writes ? VFSDAX_MAP_WRITE : 0),
			 &m->lib);
	if (!err)
		m->at = vfsdax_map_addr(m->lib);
	return err;
}

void file_unmap(struct map *m)
{
	if (m->lib)
		vfsdax_unmap(m->lib);
	else if (munmap(m->at, m->len))
		die("munmap: %s", strerror(errno));
}
