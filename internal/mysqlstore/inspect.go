package mysqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// columnsThere gives the forms of the columns that there are. The display width that MariaDB shows of integers is cut.
func (t table) columnsThere(ctx context.Context, db *sql.DB) (_ map[string]form, err error) {
	rows, err := db.QueryContext(ctx, "SELECT column_name, column_type, COALESCE(collation_name,''), is_nullable='YES',"+
		" extra LIKE '%auto_increment%', extra LIKE '%on update%'"+
		" FROM information_schema.columns WHERE table_schema=DATABASE() AND table_name=?", t.name)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	all := map[string]form{}
	for rows.Next() {
		var (
			name string
			f    form
		)
		if err := rows.Scan(&name, &f.typ, &f.collation, &f.null, &f.auto, &f.onUpdate); err != nil {
			return nil, fmt.Errorf("read columns: %w", err)
		}
		if base, rest, ok := strings.Cut(f.typ, "("); ok && strings.HasSuffix(base, "int") {
			_, sign, _ := strings.Cut(rest, ")")
			f.typ = base + sign
		}
		f.typ = strings.ToLower(f.typ)
		all[strings.ToLower(name)] = f
	}
	return all, wrap("read columns", rows.Err())
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
