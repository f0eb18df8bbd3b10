package devstack_test

import (
	"context"
	"database/sql"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/persistd/persistd/internal/devstack/stacktest"
)

func TestAClusterGoesOnWithoutAKilledNodeThatComesBack(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	began := time.Now()
	g, _ := stacktest.Galera(t)
	t.Logf("up after %s", time.Since(began))

	db := func(i int) *sql.DB {
		db, err := sql.Open("mysql", g.Node(i).DSN(""))
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	status := func(db *sql.DB, name string) (value string) {
		_ = db.QueryRowContext(ctx, "SHOW STATUS LIKE '"+name+"'").Scan(&name, &value)
		return value
	}
	first, last := db(0), db(2)
	require.Equal(t, "3", status(last, "wsrep_cluster_size"))
	_, err := first.ExecContext(ctx, "CREATE DATABASE d")
	require.NoError(t, err)
	_, err = first.ExecContext(ctx, "CREATE TABLE d.t (id INT PRIMARY KEY)")
	require.NoError(t, err)

	rows := 0
	for i := range g.Nodes() {
		g.Node(i).Kill()
		other := db((i + 1) % 3)
		for range 5 {
			rows++
			_, err = other.ExecContext(ctx, "INSERT INTO d.t VALUES ("+strconv.Itoa(rows)+")")
			require.NoError(t, err)
		}
		require.NoError(t, g.Node(i).Restart(ctx))
		require.Eventually(t, func() bool { return status(other, "wsrep_cluster_size") == "3" }, time.Minute, 20*time.Millisecond)
		conn, err := db(i).Conn(ctx)
		require.NoError(t, err)
		var n int
		_, err = conn.ExecContext(ctx, "SET SESSION wsrep_sync_wait=1")
		require.NoError(t, err)
		require.NoError(t, conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM d.t").Scan(&n))
		require.Equal(t, rows, n, "the node that was killed has what it missed")
		require.NoError(t, conn.Close())
	}
	t.Logf("done after %s", time.Since(began))
}
