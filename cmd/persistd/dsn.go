package main

import (
	"net"

	"github.com/go-sql-driver/mysql"

	"github.com/persistd/persistd/internal/mysqlstore"
)

// clientCommand is how to look at the database with its own client. It shows no password: the client asks for it.
func clientCommand(dsn string) string {
	c, err := mysql.ParseDSN(mysqlstore.OneAddress(dsn))
	if err != nil {
		return "(the data source name does not parse)"
	}
	where := " --socket=" + c.Addr
	if c.Net == "tcp" {
		host, port, err := net.SplitHostPort(c.Addr)
		if err != nil {
			host, port = c.Addr, "3306"
		}
		where = " --host=" + host + " --port=" + port
	}
	return "mariadb --user=" + c.User + " --password" + where + " " + c.DBName
}
