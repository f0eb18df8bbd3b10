package powerloss

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

const device = "/dev/fuse"

// ErrNoFUSE says that this machine mounts no file system for us.
var ErrNoFUSE = errors.New("no FUSE here: it takes " + device + " and the right to mount: be root, and in a container run it with" +
	" --device " + device + " --cap-add SYS_ADMIN")

type mounted struct {
	dir    string
	server *fuse.Server
}

// Mount shows the disk at dir, an empty folder, until Unmount.
func (d *Disk) Mount(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mount != nil {
		return fmt.Errorf("mount disk at %s: it is mounted at %s", dir, d.mount.dir)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("mount disk: %w: %w", ErrNoFUSE, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("mount disk: %w", err)
	}
	never := time.Duration(0) // the kernel caches nothing: what is seen is what the disk has
	server, err := fs.Mount(dir, &node{disk: d, inode: d.root}, &fs.Options{
		EntryTimeout: &never, AttrTimeout: &never, NegativeTimeout: &never,
		RootStableAttr: &fs.StableAttr{Ino: d.root.id, Mode: d.root.mode},
		MountOptions: fuse.MountOptions{
			FsName: "powerloss", Name: "powerloss", DirectMountStrict: true, DisableXAttrs: true, MaxWrite: 1 << 20,
		},
	})
	if err != nil {
		return fmt.Errorf("mount disk at %s: %w: %w", dir, ErrNoFUSE, err)
	}
	d.mount = &mounted{dir: dir, server: server}
	return nil
}

// Unmount takes the disk away from where it was mounted, which no program must use any more. It loses nothing, and is idempotent.
func (d *Disk) Unmount() error {
	d.mu.Lock()
	m := d.mount
	d.mu.Unlock()
	if m == nil {
		return nil
	}
	// A program that was just killed may still be closing its files.
	var err error
	for range 200 {
		if err = m.server.Unmount(); err == nil {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("unmount disk from %s: %w", m.dir, err)
	}
	m.server.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mount = nil
	return nil
}
