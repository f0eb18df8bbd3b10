package mysqlstore

import (
	"errors"

	"github.com/go-sql-driver/mysql"
)

// unprepared is whether err is about the statement's being prepared, and not about what it says.
func unprepared(err error) bool {
	var answer *mysql.MySQLError
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Number {
	case 1243, // the server does not know it
		1295, // a proxy that takes no prepared statements
		1461, // max_prepared_stmt_count
		1615: // it has to be prepared again, and again
		return true
	default:
		return false
	}
}
