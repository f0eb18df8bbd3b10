package powerloss

import (
	"context"
	"maps"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// node is an inode as FUSE sees it.
type node struct {
	fs.Inode

	disk  *Disk
	inode *inode
}

// handle is an open file.
type handle struct{ synced bool } // with O_SYNC

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeFlusher   = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

// child is the FUSE node of an inode in this folder.
func (n *node) child(ctx context.Context, c *inode, out *fuse.EntryOut) *fs.Inode {
	c.attr(&out.Attr)
	return n.NewInode(ctx, &node{disk: n.disk, inode: c}, fs.StableAttr{Mode: c.mode & syscall.S_IFMT, Ino: c.id})
}

func (n *inode) attr(a *fuse.Attr) {
	a.Ino, a.Mode, a.Nlink, a.Blksize = n.id, n.mode, 1, page
	a.Size = uint64(len(n.data))
	a.Blocks = (a.Size + 511) / 512
}

// Lookup implements fs.NodeLookuper.
func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	c, ok := n.inode.children[name]
	if !ok {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, c, out), 0
}

// Getattr implements fs.NodeGetattrer.
func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.inode.attr(&out.Attr)
	return 0
}

// Setattr implements fs.NodeSetattrer. Times and owners are nobody's business here.
func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		n.disk.truncateLocked(n.inode, int(size)) //nolint:gosec // G115: of a file in memory.
	}
	if mode, ok := in.GetMode(); ok {
		n.inode.mode = n.inode.mode&syscall.S_IFMT | mode&^syscall.S_IFMT
	}
	n.inode.attr(&out.Attr)
	return 0
}

// Open implements fs.NodeOpener.
func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if flags&syscall.O_TRUNC != 0 {
		n.disk.truncateLocked(n.inode, 0)
	}
	return open(flags), 0, 0
}

func open(flags uint32) *handle {
	return &handle{synced: flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0}
}

// Read implements fs.NodeReader.
func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if off >= int64(len(n.inode.data)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.inode.data[off:])]), 0
}

// Write implements fs.NodeWriter.
func (n *node) Write(_ context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.writeLocked(n.inode, data, int(off))
	if h, ok := f.(*handle); ok && h.synced {
		n.disk.syncLocked(n.inode)
	}
	return uint32(len(data)), 0 //nolint:gosec // G115: at most a megabyte.
}

// Fsync implements fs.NodeFsyncer, of files and of folders.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	n.disk.syncLocked(n.inode)
	return 0
}

// Flush implements fs.NodeFlusher: a close syncs nothing.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

// Readdir implements fs.NodeReaddirer.
func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	var all []fuse.DirEntry
	for _, name := range slices.Sorted(maps.Keys(n.inode.children)) {
		c := n.inode.children[name]
		all = append(all, fuse.DirEntry{Name: name, Ino: c.id, Mode: c.mode})
	}
	return fs.NewListDirStream(all), 0
}

// Mkdir implements fs.NodeMkdirer.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.inode.children[name] != nil {
		return nil, syscall.EEXIST
	}
	c := n.disk.inode(syscall.S_IFDIR | mode&^syscall.S_IFMT)
	n.disk.renameLocked(edit{n.inode, name, c})
	return n.child(ctx, c, out), 0
}

// Create implements fs.NodeCreater.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	c := n.inode.children[name]
	switch {
	case c == nil:
		c = n.disk.inode(syscall.S_IFREG | mode&^syscall.S_IFMT)
		n.disk.renameLocked(edit{n.inode, name, c})
	case flags&syscall.O_EXCL != 0:
		return nil, nil, 0, syscall.EEXIST
	case flags&syscall.O_TRUNC != 0:
		n.disk.truncateLocked(c, 0)
	}
	return n.child(ctx, c, out), open(flags), 0, 0
}

// Unlink implements fs.NodeUnlinker.
func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	if n.inode.children[name] == nil {
		return syscall.ENOENT
	}
	n.disk.renameLocked(edit{n.inode, name, nil})
	return 0
}

// Rmdir implements fs.NodeRmdirer.
func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	switch c := n.inode.children[name]; {
	case c == nil:
		return syscall.ENOENT
	case len(c.children) > 0:
		return syscall.ENOTEMPTY
	}
	n.disk.renameLocked(edit{n.inode, name, nil})
	return 0
}

// Rename implements fs.NodeRenamer. Exchanging two names is not there.
func (n *node) Rename(_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	const noReplace = 1
	to, ok := parent.(*node)
	c := n.inode.children[name]
	switch {
	case c == nil:
		return syscall.ENOENT
	case !ok, flags&^noReplace != 0:
		return syscall.EINVAL
	}
	if over := to.inode.children[newName]; over != nil {
		if flags&noReplace != 0 {
			return syscall.EEXIST
		}
		if len(over.children) > 0 {
			return syscall.ENOTEMPTY
		}
	}
	n.disk.renameLocked(edit{n.inode, name, nil}, edit{to.inode, newName, c})
	return 0
}

// Statfs implements fs.NodeStatfser: there is plenty of room.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	const blocks = 16 << 30 / page
	out.Blocks, out.Bfree, out.Bavail, out.Bsize, out.Frsize, out.NameLen = blocks, blocks, blocks, page, page, 255
	out.Files, out.Ffree = 1<<20, 1<<20
	return 0
}
