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

// takeovers are the migrations that bring a table of LangGraph-Go's MySQLStore into persistd's form. They find nothing to do where
// persistd made the table. In SQL alone they could not be: MySQL has no IF EXISTS for columns and keys.
func takeovers() []*goose.Migration {
	return []*goose.Migration{takeover(5, stepsTable), takeover(6, checkpointsTable)}
}

func takeover(version int64, t table) *goose.Migration {
	up := &goose.GoFunc{RunDB: t.takeOver, Mode: goose.TransactionDisabled}
	return goose.NewGoMigration(version, up, &goose.GoFunc{Mode: goose.TransactionDisabled})
}

// table is what a table must have. What it has besides, columns and keys of the user's own, stays.
type table struct {
	name    string
	columns []column
	// unique are the columns of the unique key uniqueName.
	uniqueName, unique string
	// redundant are the documented keys that the unique key covers: name and columns. A key of that name over other columns is not
	// theirs, and stays.
	redundant map[string]string
}

// column is a column's definition, and how information_schema shows it.
type column struct {
	name, definition string
	// typ is COLUMN_TYPE; collation is COLLATION_NAME, "" when it has none.
	typ, collation string
}

const (
	idType   = "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
	timeType = "TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6)"
	seqType  = "BIGINT UNSIGNED NOT NULL DEFAULT 0"
	genType  = "INT UNSIGNED NOT NULL DEFAULT 0"
)

var stepsTable = table{
	name: "workflow_steps",
	columns: []column{
		{"run_id", idType, "varchar(255)", "utf8mb4_bin"},
		{"node_id", idType, "varchar(255)", "utf8mb4_bin"},
		{"created_at", timeType, "timestamp(6)", ""},
		{"log_seq", seqType, "bigint unsigned", ""},
		{"log_gen", genType, "int unsigned", ""},
	},
	uniqueName: "unique_run_step", unique: "run_id,step",
	redundant: map[string]string{"idx_run_id": "run_id", "idx_run_step": "run_id,step"},
}

var checkpointsTable = table{
	name: "workflow_checkpoints",
	columns: []column{
		{"checkpoint_id", idType, "varchar(255)", "utf8mb4_bin"},
		{"created_at", timeType, "timestamp(6)", ""},
		{"updated_at", timeType + " ON UPDATE CURRENT_TIMESTAMP(6)", "timestamp(6)", ""},
		{"log_seq", seqType, "bigint unsigned", ""},
		{"log_gen", genType, "int unsigned", ""},
	},
	uniqueName: "checkpoint_id", unique: "checkpoint_id",
}

// takeOver changes what is missing in one ALTER TABLE, so that the table is rebuilt once. It can be repeated: a crash leaves the
// table as it was or as it should be. An ALTER whose client died may still run on the server; then this one waits behind it, finds
// its work done, and looks again.
func (t table) takeOver(ctx context.Context, db *sql.DB) error {
	for attempt := 1; ; attempt++ {
		changes, err := t.changes(ctx, db)
		if err != nil {
			return fmt.Errorf("inspect %s: %w", t.name, err)
		}
		if len(changes) == 0 {
			return nil
		}
		_, err = db.ExecContext(ctx, "ALTER TABLE "+t.name+" "+strings.Join(changes, ", "))
		if err == nil {
			return nil
		}
		if attempt == 3 || !doneMeanwhile(err) {
			return fmt.Errorf("take over %s: %w", t.name, t.explain(err))
		}
	}
}

// doneMeanwhile is whether err says that something to be added is there, or something to be dropped is not.
func doneMeanwhile(err error) bool {
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) {
		return false
	}
	return answer.Number == 1060 || answer.Number == 1061 || answer.Number == 1091
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
		hint: "rows of " + t.name + " are the same by (" + t.unique +
			"), trailing spaces aside: nothing was changed; remove or rename all but one of them",
	}
}

// changes are what ALTER TABLE has to do; none when t is as it should be.
func (t table) changes(ctx context.Context, db *sql.DB) ([]string, error) {
	var engine string
	err := db.QueryRowContext(ctx, "SELECT COALESCE(engine,'') FROM information_schema.tables"+
		" WHERE table_schema=DATABASE() AND table_name=?", t.name).Scan(&engine)
	if err != nil {
		return nil, fmt.Errorf("read engine: %w", err)
	}
	var changes []string
	if !strings.EqualFold(engine, "InnoDB") {
		changes = append(changes, "ENGINE=InnoDB") // the others have no transactions
	}
	columns, err := t.columnsThere(ctx, db)
	if err != nil {
		return nil, err
	}
	for _, want := range t.columns {
		have, ok := columns[want.name]
		switch {
		case !ok:
			changes = append(changes, "ADD COLUMN "+want.name+" "+want.definition)
		case have != [2]string{want.typ, want.collation}:
			changes = append(changes, "MODIFY COLUMN "+want.name+" "+want.definition)
		}
	}
	keys, err := t.keysThere(ctx, db)
	if err != nil {
		return nil, err
	}
	unique := false
	for _, k := range keys {
		unique = unique || k.unique && k.columns == t.unique
	}
	if !unique {
		changes = append(changes, "ADD UNIQUE KEY "+t.uniqueName+" ("+t.unique+")")
	}
	for _, k := range keys {
		if !k.unique && k.columns != "" && t.redundant[k.name] == k.columns {
			changes = append(changes, "DROP INDEX "+k.name)
		}
	}
	return changes, nil
}

// columnsThere gives type and collation of the columns that there are. The display width that MariaDB shows of integers is cut.
func (t table) columnsThere(ctx context.Context, db *sql.DB) (_ map[string][2]string, err error) {
	rows, err := db.QueryContext(ctx, "SELECT column_name, column_type, COALESCE(collation_name,'')"+
		" FROM information_schema.columns WHERE table_schema=DATABASE() AND table_name=?", t.name)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	all := map[string][2]string{}
	for rows.Next() {
		var name, typ, collation string
		if err := rows.Scan(&name, &typ, &collation); err != nil {
			return nil, fmt.Errorf("read columns: %w", err)
		}
		if base, rest, ok := strings.Cut(typ, "("); ok && strings.HasSuffix(base, "int") {
			_, sign, _ := strings.Cut(rest, ")")
			typ = base + sign
		}
		all[strings.ToLower(name)] = [2]string{strings.ToLower(typ), collation}
	}
	return all, wrap("read columns", rows.Err())
}

// key is a key of a table, its columns joined by commas; "" when it covers parts of columns.
type key struct {
	name, columns string
	unique        bool
}

func (t table) keysThere(ctx context.Context, db *sql.DB) (_ []key, err error) {
	rows, err := db.QueryContext(ctx, "SELECT index_name, MAX(non_unique)=0,"+
		" IF(COUNT(sub_part)=0, COALESCE(GROUP_CONCAT(column_name ORDER BY seq_in_index),''), '')"+
		" FROM information_schema.statistics WHERE table_schema=DATABASE() AND table_name=? GROUP BY index_name", t.name)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var all []key
	for rows.Next() {
		var k key
		if err := rows.Scan(&k.name, &k.unique, &k.columns); err != nil {
			return nil, fmt.Errorf("read keys: %w", err)
		}
		all = append(all, k)
	}
	return all, wrap("read keys", rows.Err())
}
