// Package devstack starts the servers persistd needs, privately: a MariaDB or
// MySQL child process and a nats-server with JetStream, either embedded or as a
// process of its own. `persistd dev`, `persistd demo` and the tests stand on it.
//
// Everything of a server lies in the one folder it is given (data, log, password,
// pid file) and listens on 127.0.0.1 only. Nothing is read from the host's own
// configuration and nothing is installed: a missing binary is a [MissingError]
// that names the command that installs it.
//
// Every server goes through the same states:
//
//	                       Kill (SIGKILL), Stop (clean), crash
//	(nothing) ──Start──▶ running ─────────────────────────▶ stopped
//	                        ▲                                  │
//	                        └─────────── Restart ──────────────┘
//	                         same folder, same port, same data
//
// The ctx of Start and Restart bounds the wait until the server answers, not the
// server's life. A child process dies with its parent, however the parent ends
// (Linux only: see startProcess), unless OutliveParent asks otherwise.
//
// A folder serves one child at a time: the child itself holds a lock on it for as
// long as it lives, so the server of a parent that was just killed is waited for
// and never raced.
package devstack
