package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// checkDSN tells what is wrong with a data source name without repeating any of it: where a password with an unlucky
// character ends up depends on how far the parser came.
func checkDSN(dsn Secret) error {
	if dsn == "" {
		return errors.New("must be set, in mysql.dsn, mysql.dsn_file or MYSQL_DSN: user:password@tcp(host:3306)/database")
	}
	const form = "must be user:password@tcp(host:3306)/database?param=value"
	cfg, err := mysql.ParseDSN(dsn.Reveal())
	if err != nil {
		// The driver's messages that begin so are constants.
		if reason, ok := strings.CutPrefix(err.Error(), "invalid DSN: "); ok {
			return fmt.Errorf("%s: %s", form, reason)
		}
		return errors.New(form)
	}
	if noAt(cfg) {
		return errors.New(form)
	}
	if cfg.DBName == "" {
		return errors.New("must name a database after the slash: user:password@tcp(host:3306)/database")
	}
	return nil
}

// noAt reports whether the @ is missing: then the driver takes user and password for the network.
func noAt(cfg *mysql.Config) bool { return strings.Contains(cfg.Net, ":") }

// maskDSN shows a data source name without its password, or nothing of one that cannot be parsed.
func maskDSN(dsn Secret) string {
	if dsn == "" {
		return ""
	}
	cfg, err := mysql.ParseDSN(dsn.Reveal())
	if err != nil || noAt(cfg) {
		return mask
	}
	if cfg.Passwd != "" {
		cfg.Passwd = mask
	}
	if strings.Contains(cfg.Addr, ",") { // the driver takes a list for a name that lacks brackets and a port
		cfg.Addr = strings.TrimSuffix(strings.TrimPrefix(cfg.Addr, "["), "]:3306")
	}
	return cfg.FormatDSN()
}

var natsSchemes = []string{"nats", "tls", "ws", "wss"}

// checkURLs tells what is wrong with a list of NATS servers, without repeating a password that stands in it.
func checkURLs(list string) error {
	for i, entry := range strings.Split(list, ",") {
		u, err := parseURL(entry)
		switch {
		case err != nil || u.Host == "":
			return fmt.Errorf("must be a comma-separated list of nats://host:port; server %d is not", i+1)
		case !slices.Contains(natsSchemes, u.Scheme):
			return fmt.Errorf("server %d must begin with %s://", i+1, strings.Join(natsSchemes, "://, "))
		}
	}
	return nil
}

// parseURL reads one server; like the NATS client it takes a bare host:port.
func parseURL(entry string) (*url.URL, error) {
	entry = strings.TrimSpace(entry)
	if !strings.Contains(entry, "://") {
		entry = "nats://" + entry
	}
	return url.Parse(entry)
}

// maskURLs shows a list of servers without the passwords and tokens in it.
func maskURLs(list string) string {
	if !strings.Contains(list, "@") {
		return list
	}
	entries := strings.Split(list, ",")
	for i, entry := range entries {
		u, err := parseURL(entry)
		switch {
		case err != nil:
			entries[i] = mask
		case u.User != nil:
			// Built by hand: URL.Redacted keeps a token, which stands where a user would, and would escape the mask.
			user := mask
			if _, ok := u.User.Password(); ok {
				user = u.User.Username() + ":" + mask
			}
			u.User = nil
			entries[i] = strings.Replace(u.String(), "://", "://"+user+"@", 1)
		}
	}
	return strings.Join(entries, ",")
}
