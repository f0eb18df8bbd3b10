package powerloss

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// Names is when changes of names become durable.
type Names int

// See the package comment.
const (
	Journal Names = iota
	Directory
)

// Disk is the content of the file system. Its methods may be called concurrently.
type Disk struct {
	names Names

	mu      sync.Mutex // guards all below, and every inode; nothing blocks while it is held
	root    *inode
	last    uint64   // the newest inode's number
	journal []change // of names and sizes, not durable yet, oldest first
	mount   *mounted // nil while it is not mounted
	stats   Counts   // what was counted
}

// Counts counts what the programs on the disk did.
type Counts struct {
	// Syncs is how often a file or a folder was synced, Writes how often a file was written.
	Syncs, Writes int
}

// NewDisk is an empty disk.
func NewDisk(names Names) *Disk {
	d := &Disk{names: names}
	d.root = d.inode(syscall.S_IFDIR | 0o700)
	return d
}

// inode is a file or a folder, as it is seen and as it is on the disk.
type inode struct {
	id   uint64
	mode uint32

	// Of a file.
	data    []byte
	durable []byte
	dirty   map[int]bool // pages written since the last sync

	// Of a folder.
	children map[string]*inode
	kept     map[string]*inode
}

const page = 4096

// change is one change that becomes durable as a whole: of names, or a cut of a file.
type change struct {
	edits []edit
	cut   *inode // nil when it is about names
	size  int
}

// edit is a name in a folder that is given to an inode, or taken away when that is nil.
type edit struct {
	dir  *inode
	name string
	to   *inode
}

func (d *Disk) inode(mode uint32) *inode {
	d.last++
	n := &inode{id: d.last, mode: mode}
	if n.isDir() {
		n.children, n.kept = map[string]*inode{}, map[string]*inode{}
	} else {
		n.dirty = map[int]bool{}
	}
	return n
}

func (n *inode) isDir() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// rename changes names: what is seen at once, what is on the disk when it is synced.
func (d *Disk) renameLocked(edits ...edit) {
	for _, e := range edits {
		if e.to == nil {
			delete(e.dir.children, e.name)
		} else {
			e.dir.children[e.name] = e.to
		}
	}
	d.journal = append(d.journal, change{edits: edits})
}

func (d *Disk) writeLocked(n *inode, data []byte, off int) {
	d.stats.Writes++
	if end := off + len(data); end > len(n.data) {
		n.resize(end)
	}
	copy(n.data[off:], data)
	n.soil(off, off+len(data))
}

func (d *Disk) truncateLocked(n *inode, size int) {
	if size < len(n.data) {
		d.journal = append(d.journal, change{cut: n, size: size})
	}
	n.resize(size)
}

// resize makes the content size bytes long; what is new is zeros, and not on the disk.
func (n *inode) resize(size int) {
	from := len(n.data)
	if size <= from {
		clear(n.data[size:])
		n.data = n.data[:size]
		return
	}
	n.data = slices.Grow(n.data, size-from)[:size]
	clear(n.data[from:])
	n.soil(from, size)
}

func (n *inode) soil(from, to int) {
	for p := from / page; p*page < to; p++ {
		n.dirty[p] = true
	}
}

// sync makes durable what an fsync of n does.
func (d *Disk) syncLocked(n *inode) {
	d.stats.Syncs++
	if !n.isDir() {
		n.writeBack(func(int) bool { return true })
	}
	switch {
	case d.names == Journal:
		for _, c := range d.journal {
			c.commit(nil)
		}
		d.journal = nil
	case n.isDir():
		d.journal = slices.DeleteFunc(d.journal, func(c change) bool { return c.commit(n) })
	default:
		d.journal = slices.DeleteFunc(d.journal, func(c change) bool { return c.cut == n })
	}
}

// writeBack writes the dirty pages that chosen picks to the disk, and the size if it picks all of those behind the old one.
func (n *inode) writeBack(chosen func(p int) bool) {
	size := len(n.durable)
	for _, p := range slices.Sorted(maps.Keys(n.dirty)) {
		if !chosen(p) {
			continue
		}
		from, to := p*page, min((p+1)*page, len(n.data))
		if from >= to {
			continue // behind the end since it was cut
		}
		if to > len(n.durable) {
			n.durable = append(n.durable, make([]byte, to-len(n.durable))...)
		}
		copy(n.durable[from:to], n.data[from:to])
		size = max(size, to)
		delete(n.dirty, p)
	}
	n.durable = n.durable[:min(size, len(n.data))]
}

// commit makes the change durable; of one of names, when dir is given, only what is in dir, and reports whether nothing is left of it.
func (c *change) commit(dir *inode) (done bool) {
	if c.cut != nil {
		if dir != nil {
			return false
		}
		c.cut.durable = c.cut.durable[:min(len(c.cut.durable), c.size)]
		return true
	}
	c.edits = slices.DeleteFunc(slices.Clone(c.edits), func(e edit) bool {
		if dir != nil && e.dir != dir {
			return false
		}
		if e.to == nil {
			delete(e.dir.kept, e.name)
		} else {
			e.dir.kept[e.name] = e.to
		}
		return true
	})
	return len(c.edits) == 0
}

// Lost is how much becomes of what was not synced.
type Lost func(*Disk)

// Nothing of what was not synced is there afterwards.
func Nothing(*Disk) {}

// Some of it is: of the changes of names the first few, and pages at random, drawn from draw.
func Some(draw *rand.Rand) Lost {
	return func(d *Disk) {
		if d.names == Journal {
			for _, c := range d.journal[:draw.IntN(len(d.journal)+1)] {
				c.commit(nil)
			}
		}
		d.root.each(func(n *inode) { n.writeBack(func(int) bool { return draw.IntN(2) == 0 }) })
	}
}

// each calls f for every file that has a name on the disk.
func (n *inode) each(f func(*inode)) {
	for _, name := range slices.Sorted(maps.Keys(n.kept)) {
		if child := n.kept[name]; child.isDir() {
			child.each(f)
		} else {
			f(child)
		}
	}
}

// Cut cuts the power: the disk has what was synced, and of the rest what kept says. It must not be mounted.
func (d *Disk) Cut(kept Lost) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mount != nil {
		return fmt.Errorf("cut power: %s is mounted: end the programs and unmount it first", d.mount.dir)
	}
	kept(d)
	d.journal = nil
	d.root.restore(map[*inode]bool{})
	return nil
}

// restore makes what is seen what is on the disk.
func (n *inode) restore(done map[*inode]bool) {
	if done[n] {
		return
	}
	done[n] = true
	if !n.isDir() {
		n.data, n.dirty = slices.Clone(n.durable), map[int]bool{}
		return
	}
	n.children = maps.Clone(n.kept)
	for _, child := range n.children {
		child.restore(done)
	}
}

// Forgotten are the files, by their paths, whose content was synced and that a cut would lose all the same, for the name of the file, or of a
// folder above it, was not.
func (d *Disk) Forgotten() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept := map[*inode]bool{}
	d.root.each(func(n *inode) { kept[n] = true })
	return d.root.forgotten("", kept, nil)
}

func (n *inode) forgotten(at string, kept map[*inode]bool, all []string) []string {
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		switch child := n.children[name]; {
		case child.isDir():
			all = child.forgotten(at+name+"/", kept, all)
		case len(child.durable) > 0 && !kept[child]:
			all = append(all, at+name)
		}
	}
	return all
}

// Counts are what the programs on the disk did so far.
func (d *Disk) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}
