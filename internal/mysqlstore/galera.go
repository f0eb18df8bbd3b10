package mysqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// Errors of a server that is there and not fit to be worked on.
var (
	errNotMember = errors.New("node is not ready: it is not one of a majority of its cluster, or still gets what the others have")
	errReadOnly  = errors.New("server is read-only, and others are named: a replica, or a former primary")
)

// causal makes a Galera node's statements wait until the node has applied what was committed in the cluster before them: SELECT and BEGIN (1),
// UPDATE and DELETE (2), INSERT and REPLACE (4). A transaction waits before its first statement only. Without it I6 breaks as soon as one
// replica of persistd commits on one node and another one reads on another, which may be behind.
const causal = "SET SESSION wsrep_sync_wait=7"

// traits are the variables that tell what kind of server it is. SHOW needs no rights, and is answered by every node in every state.
const traits = "SHOW VARIABLES WHERE Variable_name IN ('wsrep_on','wsrep_provider','read_only')"

// setUp makes the session what every connection needs, and looks whether the server is fit.
func (c *conn) setUp(ctx context.Context, settings []string) error {
	for _, s := range settings {
		if _, err := c.driverConn.ExecContext(ctx, s, nil); err != nil {
			return fmt.Errorf("set up session: %w", err)
		}
	}
	is, err := c.show(ctx, traits)
	if err != nil {
		return fmt.Errorf("ask what kind of server it is: %w", err)
	}
	if is["read_only"] == "ON" && len(c.servers.drivers) > 1 {
		return errReadOnly
	}
	if is["wsrep_on"] != "ON" || is["wsrep_provider"] == "none" || is["wsrep_provider"] == "" {
		return nil
	}
	state, err := c.show(ctx, "SHOW STATUS LIKE 'wsrep_ready'")
	if err != nil {
		return fmt.Errorf("ask whether node is ready: %w", err)
	}
	if state["wsrep_ready"] != "ON" {
		return errNotMember
	}
	if _, err := c.driverConn.ExecContext(ctx, causal, nil); err != nil {
		return fmt.Errorf("set up session: %w", err)
	}
	return nil
}

// show is the answer to a SHOW of names and values.
func (c *conn) show(ctx context.Context, query string) (_ map[string]string, err error) {
	rows, err := c.driverConn.QueryContext(ctx, query, nil)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller says what was asked.
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	all, row := map[string]string{}, make([]driver.Value, len(rows.Columns()))
	for {
		if err := rows.Next(row); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err //nolint:wrapcheck // the caller says what was asked.
		}
		name, value := text(row[0]), text(row[1])
		all[name] = value
	}
}

func text(v driver.Value) string {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprint(v)
}
