package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/persistd/persistd/internal/bench/rig"
	"github.com/persistd/persistd/internal/bench/usage"
)

// rowsOfStatement is how many rows a raw statement has, as a batch of the daemon has at most.
const rowsOfStatement = 1000

// bytesOfStatement bounds its text, for large states: a quarter of the default max_allowed_packet of MariaDB, as the daemon's batches are.
const bytesOfStatement = 4 << 20

// rawInserts makes the text of multi-row INSERT statements that write the same rows as the steps' events do.
func rawInserts(steps []Step) []string {
	var statements []string
	for len(steps) > 0 {
		n, size := 0, 0
		for n < len(steps) && n < rowsOfStatement && (n == 0 || size < bytesOfStatement) {
			size += len(steps[n].State)
			n++
		}
		statements = append(statements, rawInsert(steps[:n], size))
		steps = steps[n:]
	}
	return statements
}

var quoter = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

func rawInsert(steps []Step, size int) string {
	steps = slices.SortedFunc(slices.Values(steps), func(a, b Step) int { // in the order of the key, as it is fastest
		if c := strings.Compare(a.Run, b.Run); c != 0 {
			return c
		}
		return a.Step - b.Step
	})
	var q strings.Builder
	q.Grow(size + size/8 + 100*len(steps))
	q.WriteString("INSERT INTO workflow_steps (run_id, step, node_id, state, created_at, log_seq, log_gen) VALUES ")
	for i, s := range steps {
		if i > 0 {
			q.WriteByte(',')
		}
		fmt.Fprintf(&q, "('%s',%d,'%s','", quoter.Replace(s.Run), s.Step, quoter.Replace(s.Node))
		_, _ = quoter.WriteString(&q, string(s.State))
		fmt.Fprintf(&q, "',NOW(6),%d,1)", i+1)
	}
	return q.String()
}

// insertRaw executes the statements over as many connections as the daemon has, each statement a transaction, and says how many rows a second that is.
func (b *Bench) insertRaw(ctx context.Context, statements []string, rows int) (_ Sample, err error) {
	var conns []*sql.Conn
	defer func() {
		for _, c := range conns {
			err = errors.Join(err, c.Close())
		}
	}()
	for range b.Rig.Connections() {
		c, err := b.Rig.DB().Conn(ctx)
		if err != nil {
			return nil, fmt.Errorf("connect to database: %w", err)
		}
		conns = append(conns, c)
	}
	queue := make(chan string, len(statements))
	for _, q := range statements {
		queue <- q
	}
	close(queue)
	meter, err := usage.Begin(b.Rig.Processes(rig.Client, rig.Database)...)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	began := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range conns {
		g.Go(func() error {
			for q := range queue {
				if _, err := c.ExecContext(ctx, q); err != nil {
					return fmt.Errorf("insert: %w", err)
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // wrapped above.
	}
	return sampled(rows, began, time.Now(), meter)
}

// sampled is the rate of n things between two moments, and what they cost the processes.
func sampled(n int, began, ended time.Time, meter *usage.Meter) (Sample, error) {
	used, err := meter.Since()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what was measured.
	}
	s := Sample{metricRate: float64(n) / ended.Sub(began).Seconds()}
	s.AddUsage(used, n)
	return s, nil
}
