package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"
)

// Complete makes a Config of what kong has filled in: secrets are read from the files that hold them, MYSQL_DSN stands in
// for a data source name nobody gave, and an instance without a name gets one. It does not validate.
func (f Flags) Complete(env LookupEnv) (Config, error) {
	c := Config(f.Settings)
	var errs []error
	for _, s := range settings() {
		if s.Secret != "" {
			errs = append(errs, s.readSecret(&c))
		}
	}
	if c.MySQL.DSN == "" && c.MySQL.DSNFile == "" {
		dsn, _ := env("MYSQL_DSN")
		c.MySQL.DSN = Secret(dsn)
	}
	if c.Instance == "" {
		host, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("ask for the host's name, to name the instance: %w", err))
		}
		c.Instance = fmt.Sprintf("%s:%d", host, os.Getpid())
	}
	return c, errors.Join(errs...)
}

// readSecret reads the file that s names into the setting it stands for.
func (s Setting) readSecret(c *Config) error {
	path := s.value(c).String()
	if path == "" {
		return nil
	}
	var target reflect.Value
	for _, other := range settings() {
		if other.Path == s.Secret {
			target = other.value(c)
		}
	}
	if target.String() != "" {
		return fmt.Errorf("%s and %s: both set, want one", s.Secret, s.Path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return fmt.Errorf("%s: %s is empty", s.Path, path)
	}
	target.SetString(secret)
	return nil
}

// Default is the configuration with nothing set, for tests and for commands that set the rest themselves. It has no data
// source name, so it is not valid yet.
func Default() Config {
	var f Flags
	parser, err := kong.New(&f, kong.NoDefaultHelp())
	if err == nil {
		_, err = parser.Parse(nil)
	}
	if err != nil {
		panic(fmt.Sprintf("parse the defaults, which are constants: %v", err))
	}
	c, err := f.Complete(func(string) (string, bool) { return "", false })
	if err != nil {
		panic(fmt.Sprintf("name the instance: %v", err))
	}
	return c
}
