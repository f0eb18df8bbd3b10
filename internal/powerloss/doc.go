// Package powerloss is a disk that can lose its power: a file system in memory, mounted with FUSE, that knows of everything on it whether it
// was synced. A real server runs on it, is killed, and finds after [Disk.Cut] what a machine finds whose plug was pulled.
//
//	   write, create, rename, …           fsync                       Cut
//	program ───────────▶ what programs see ─────▶ what is on the disk ─────▶ what programs see next
//	                     (the kernel's page cache of a real machine)
//
// SIGKILL alone loses nothing: what a program wrote is the kernel's. Here the kernel keeps nothing back (FUSE writes through), so the mounted
// file system stands for both the page cache and the disk behind it.
//
// What an fsync makes durable follows from the [Names] that the disk is made with:
//
//   - [Journal], as ext4 (data=ordered) and XFS do it: of the file, its content and size; and of the whole file system, every change of a
//     name (create, rename, unlink, mkdir) and every cut to a smaller size that happened before, in order, for they share one journal. The
//     content of other files is not: one that was created, written and renamed, but never synced, is there afterwards under its new name,
//     and empty. That is crueller than ext4, which at a rename over a file writes the new one's content first, and whose journal holds sizes
//     back until the data is written.
//   - [Directory], as POSIX has it and no more: of the file its content and size, of a directory its names. A file whose directory was not
//     synced is gone.
//
// O_SYNC and O_DSYNC count as an fsync of the file after each write. What was not synced is lost altogether ([Nothing]), or, as it is on a
// real machine, in part ([Some]): each page of 4 KiB that was written since may have been written back or not, by itself, and of the changes
// of names a beginning. A page is never torn: the disks of today write one at once or not at all.
//
// Not simulated: a disk that lies about its cache, and one that loses what it had.
package powerloss
