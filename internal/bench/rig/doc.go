// Package rig is what is measured: a private nats-server, a private database and `persistd serve`, each a process of its own on this machine,
// with data in a folder that goes away with them.
//
//	this process ── client, baseline, looking on ──┐
//	                                               ├──▶ nats-server ◀──▶ persistd serve ──▶ MariaDB or MySQL
//	                                               └────────────────────────────────────────▶
//
//	Open: servers up, the log and the tables made by a daemon that came and went
//	StartDaemon / Daemon.Stop: as often as wanted
//	Empty, Settle: the database as new, and at rest
//	Close: all of it gone
//
// Nobody else's servers are used, on purpose: what is measured here empties tables and fills disks. The servers have the settings of package
// devstack, which are the engine's defaults with a buffer pool of 128 MiB and an fsync at each commit; both sides of a comparison work on the same server.
//
// Every child dies with this process, however that ends (Linux).
package rig
