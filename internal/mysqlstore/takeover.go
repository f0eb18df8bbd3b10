package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"

	"github.com/persistd/persistd/internal/batcher"
)

// takeovers are the migrations that bring a table of LangGraph-Go's MySQLStore, or of an earlier version, into the form that it must have.
// They find nothing to do where this version made the table. In SQL alone they could not be: MySQL has no IF EXISTS for columns and keys.
func takeovers() []*goose.Migration {
	return []*goose.Migration{
		takeover(5, stepsTable), takeover(6, checkpointsTable),
		takeover(11, stepsTable), takeover(12, checkpointsV2Table), takeover(13, keysTable), takeover(14, outboxTable),
		recoveryMigration(16),
	}
}

func takeover(version int64, t table) *goose.Migration {
	up := &goose.GoFunc{RunDB: t.takeOver, Mode: goose.TransactionDisabled}
	return goose.NewGoMigration(version, up, &goose.GoFunc{Mode: goose.TransactionDisabled})
}

// takeOver changes what is missing in one ALTER TABLE, so that the table is rebuilt once; only a column that is added in a first form
// takes another one. It can be repeated: a crash leaves the table as it was, as it should be, or with columns in their first form. An
// ALTER whose client died may still run on the server; then this one waits behind it, finds its work done, and looks again.
//
//	until there is nothing to do:
//	    fill the columns that are in their first form
//	    ALTER TABLE: add, modify and drop what is not as it should be
func (t table) takeOver(ctx context.Context, db *sql.DB) error {
	var last error
	for round := 1; ; round++ {
		fills, changes, err := t.changes(ctx, db)
		switch {
		case err != nil:
			return fmt.Errorf("inspect %s: %w", t.name, err)
		case len(changes) == 0:
			return nil
		case round > takeOverRounds && last != nil:
			return fmt.Errorf("take over %s: %w", t.name, t.explain(last))
		case round > takeOverRounds:
			return &verdict{
				class: batcher.Operator, hint: "make it what docs/schema.md shows by hand",
				err: fmt.Errorf("take over %s: it still needs: %s", t.name, strings.Join(changes, ", ")),
			}
		}
		last = execAll(ctx, db, append(fills, "ALTER TABLE "+t.name+" "+strings.Join(changes, ", ")))
		if last != nil && !doneMeanwhile(last, len(fills) > 0) {
			return fmt.Errorf("take over %s: %w", t.name, t.explain(last))
		}
	}
}

// takeOverRounds are the two that it takes at most, and as many that another did.
const takeOverRounds = 4

func execAll(ctx context.Context, db *sql.DB, statements []string) error {
	for _, q := range statements {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// doneMeanwhile is whether err says that something to be added is there, or something to be dropped is not; or that a row came after
// filled columns were, and is to be filled too.
func doneMeanwhile(err error, filled bool) bool {
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Number {
	case 1060, 1061, 1091:
		return true
	case 1062, 1265:
		return filled
	default:
		return false
	}
}

// explain says what is to be done about rows that differ only in what the old table told apart and the new one does not: with
// another collation than the documented one, trailing spaces; without the unique key, anything.
func (t table) explain(err error) error {
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) || answer.Number != 1062 {
		return err
	}
	return &verdict{
		class: batcher.Operator, number: answer.Number, err: err,
		hint: "rows of " + t.name + " are the same by (" + t.keys[0].columns +
			"), trailing spaces aside: nothing was changed; remove or rename all but one of them",
	}
}

// changes are what ALTER TABLE has to do, none when t is as it should be, and the statements that have to go before.
func (t table) changes(ctx context.Context, db *sql.DB) (fills, changes []string, err error) {
	var engine string
	err = db.QueryRowContext(ctx, "SELECT COALESCE(engine,'') FROM information_schema.tables"+
		" WHERE table_schema=DATABASE() AND table_name=?", t.name).Scan(&engine)
	if err != nil {
		return nil, nil, fmt.Errorf("read engine: %w", err)
	}
	if !strings.EqualFold(engine, "InnoDB") {
		changes = append(changes, "ENGINE=InnoDB") // the others have no transactions
	}
	columns, err := t.columnsThere(ctx, db)
	if err != nil {
		return nil, nil, err
	}
	for _, want := range t.columns {
		have, ok := columns[want.name]
		switch {
		case !ok && want.first != "":
			changes = append(changes, "ADD COLUMN "+want.name+" "+want.first)
		case !ok:
			changes = append(changes, "ADD COLUMN "+want.name+" "+want.definition)
		case have != want.form:
			if want.fill != "" {
				fills = append(fills, want.fill)
			}
			changes = append(changes, "MODIFY COLUMN "+want.name+" "+want.definition)
		}
	}
	keys, err := t.keysThere(ctx, db)
	if err != nil {
		return nil, nil, err
	}
	return fills, append(changes, t.keyChanges(keys)...), nil
}

// keyChanges are what has to be done to the keys that are there. One that only has another name is renamed: statements name it.
func (t table) keyChanges(there []key) (changes []string) {
	for _, want := range t.keys {
		var named, same bool
		other := ""
		for _, k := range there {
			if same = k.columns == want.columns && (k.unique || !want.unique); same && k.name == want.name {
				named = true
			} else if same && k.name != primary {
				other = k.name
			}
		}
		switch {
		case named:
		case want.name == primary:
			changes = append(changes, "ADD PRIMARY KEY ("+want.columns+")")
		case other != "":
			changes = append(changes, "RENAME INDEX `"+other+"` TO "+want.name)
		case want.unique:
			changes = append(changes, "ADD UNIQUE KEY "+want.name+" ("+want.columns+")")
		default:
			changes = append(changes, "ADD INDEX "+want.name+" ("+want.columns+")")
		}
	}
	for _, k := range there {
		for _, bad := range t.redundant {
			if k.columns == bad.columns && k.unique == bad.unique && (bad.name == "" || k.name == bad.name) {
				changes = append(changes, "DROP INDEX "+k.name)
			}
		}
	}
	return changes
}
