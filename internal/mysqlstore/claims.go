package mysqlstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/persistd/persistd/internal/verify"
)

// claimsPage is how many rows are looked through at a time.
const claimsPage = 5000

// Claims implements [verify.Database]. A page is of one moment.
func (c *Comparison) Claims(ctx context.Context, table verify.Table, runs []string, after string) (claims []verify.Claim, next string, err error) {
	err = retry(ctx, func() (err error) {
		if table == verify.Runs {
			claims, next, err = c.runClaims(ctx, runs, after)
		} else {
			claims, next, err = c.claims(ctx, table, runs, after)
		}
		return err
	})
	return claims, next, c.s.fail("look through "+table.String(), err)
}

func (c *Comparison) claims(ctx context.Context, table verify.Table, runs []string, after string) (claims []verify.Claim, next string, err error) {
	t := comparedTables[table]
	q := "SELECT t." + t.cursor + ", t." + t.id + ", "
	step, run, join := "0", "''", ""
	if t.step != "" {
		step = "t." + t.step
	}
	deleted := "0, 0"
	if t.run != "" {
		run = "t." + t.run
		deleted, join = "COALESCE(r.deleted_gen, 0), COALESCE(r.deleted_seq, 0)", " LEFT JOIN persistd_runs r ON r.run_id=t."+t.run
	}
	q += step + ", " + run + ", t.log_gen, t.log_seq, " + deleted + " FROM " + table.String() + " t" + join + " WHERE t." + t.cursor + ">?"
	args := []any{after}
	if t.cursor == "id" && table != verify.Outbox {
		n, err := strconv.ParseInt("0"+after, 10, 64)
		if err != nil {
			return nil, "", fmt.Errorf("read cursor: %w", err)
		}
		args[0] = n
	}
	if len(runs) > 0 {
		q += " AND " + run + " IN " + string(appendMarks(nil, len(runs)))
		args = append(args, anys(runs)...)
	}
	rows, err := c.s.readers.QueryContext(ctx, q+" ORDER BY t."+t.cursor+" LIMIT "+strconv.Itoa(claimsPage), args...)
	if err != nil {
		return nil, "", fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		x := verify.Claim{Key: verify.Key{Table: table}}
		err := rows.Scan(&next, &x.Key.ID, &x.Key.Step, &x.RunID, &x.Place.Generation, &x.Place.Sequence, &x.Deleted.Generation, &x.Deleted.Sequence)
		if err != nil {
			return nil, "", fmt.Errorf("scan: %w", err)
		}
		x.Place, x.Deleted = c.place(x.Place), c.place(x.Deleted)
		claims = append(claims, x)
	}
	if len(claims) < claimsPage {
		next = ""
	}
	return claims, next, wrap("read", rows.Err())
}

// runClaims are the places in rows of persistd_runs. A page goes by rows, of which one may have two claims, or none.
func (c *Comparison) runClaims(ctx context.Context, runs []string, after string) (claims []verify.Claim, next string, err error) {
	q, args := "SELECT run_id, attempt_gen, attempt_seq, deleted_gen, deleted_seq FROM persistd_runs WHERE run_id>?", []any{after}
	if len(runs) > 0 {
		q += " AND run_id IN " + string(appendMarks(nil, len(runs)))
		args = append(args, anys(runs)...)
	}
	rows, err := c.s.readers.QueryContext(ctx, q+" ORDER BY run_id LIMIT "+strconv.Itoa(claimsPage), args...)
	if err != nil {
		return nil, "", fmt.Errorf("select: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	n := 0
	for ; rows.Next(); n++ {
		var begun, deleted verify.Place
		if err := rows.Scan(&next, &begun.Generation, &begun.Sequence, &deleted.Generation, &deleted.Sequence); err != nil {
			return nil, "", fmt.Errorf("scan: %w", err)
		}
		for _, at := range []verify.Place{begun, deleted} {
			if at != (verify.Place{}) {
				claims = append(claims, verify.Claim{Key: verify.Key{Table: verify.Runs, ID: next}, RunID: next, Place: c.place(at)})
			}
		}
	}
	if n < claimsPage {
		next = ""
	}
	return claims, next, wrap("read", rows.Err())
}
